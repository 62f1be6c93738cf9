"""A stranger's file, broken in one place: `harness check` says which law, and what to do.

Each starts from what `harness new` writes, with one line changed.
"""

import re
from itertools import count

import pytest
from typer.testing import CliRunner

from harness import registry
from harness.cli.main import app
from harness.cli.new import Kind, _filled
from harness.errors import PluginError

NUMBERS = count()


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(
        registry, "_registered", {kind: dict(registry._registered[kind]) for kind in registry.KINDS}
    )


@pytest.fixture
def check(tmp_path):
    """Writes the plugin with `old` replaced by `new`; what `harness check` prints of failures."""

    def check(kind, old, new):
        name = f"broken_{next(NUMBERS)}"
        old, new = (line.replace("NAME", name) for line in (old, new))
        text = _filled(f"{Kind(kind)}.py", name)
        assert text.count(old) == 1, (old, text.count(old))
        file = tmp_path / f"{name}.py"
        file.write_text(text.replace(old, new))
        done = CliRunner().invoke(app, ["check", str(file)])
        if isinstance(done.exception, PluginError):
            raise done.exception
        assert done.exit_code == 1, done.output
        assert re.search(r"\d+ of \d+ checks failed\n$", done.stdout)
        found = re.findall(r"^  FAIL ([^\n]*)\n((?:       [^\n]*\n|[^ ][^\n]*\n)*)", done.stdout, re.M)
        return {law: " ".join(message.split()) for law, message in found}

    return check


BROKEN = [
    (
        "baseline",
        "(1, 0), value=self.start)",
        "(0, 1), value=self.start)[:, 1:]",
        "causality",
        r"output \d+, when inputs .* were changed, moved by .*; output t may depend on inputs",
    ),
    (
        "baseline",
        "self._remember(self.table(token), state)",
        "self._remember(self.table(token), 0.9 * state)",
        "forward equals step",
        "the state must carry all that forward sees",
    ),
    (
        "baseline",
        "super().__init__()",
        "super().__init__(); torch.manual_seed(7)",
        "different seeds differ",
        "initialise from torch's global generator, without a seed of your own",
    ),
    (
        "baseline",
        "self.head(torch.stack(hidden, dim=1))",
        "self.head(torch.stack(hidden, dim=1)) + (0 * self.memory.sum()).abs().sqrt()",
        "gradients",
        "the gradient of memory has 16 of 16 values that are not finite",
    ),
    (
        "baseline",
        "self.head(torch.stack(hidden, dim=1))",
        "self.head(torch.stack(hidden, dim=1)) + (0 * self.memory.sum()).abs().sqrt()",
        "ten training steps",
        "all 10 updates were skipped",
    ),
    (
        "baseline",
        "nn.Linear(2 * config.width, vocab_size)",
        "nn.Linear(2 * config.width, 256)",
        "shape",
        r"expected \[2, 17, 64\]; use the vocabulary size",
    ),
    (
        "baseline",
        "self.head(torch.stack(hidden, dim=1))",
        "self.head(torch.stack(hidden, dim=1)).detach()",
        "ten training steps",
        "does not require grad",
    ),
    ("baseline", "return batch_size * self.width *", "return self.width *", "state size", "add up elements"),
    (
        "baseline",
        "self.width = config.width",
        "self.width = config.widht",
        "construction",
        r"it raised AttributeError: .*widht.* \(broken_\d+\.py, line \d+\)",
    ),
    (
        "mixer",
        "self.output(torch.stack(hidden, dim=1)), state",
        "self.output(torch.stack(hidden, dim=1) - x.mean(1, keepdim=True)), state",
        "causality",
        "inputs up to and including t",
    ),
    ("dataset", "* 127.5).astype(np.uint8)", "* 200).astype(int)", "tokens are tokens", "has 0 to 255"),
    (
        "dataset",
        "np.random.default_rng(config.seed)",
        "np.random.default_rng()",
        "the same every time",
        "draw from a generator with a fixed seed",
    ),
    (
        "dataset",
        "self._clips(count, random) for",
        "self._clips(count, np.random.default_rng(0)) for",
        "splits share no clip",
        "validation and test share a clip",
    ),
    ("dataset", "/ 127.5 - 1", "/ 100 - 1", "decoding works", r"keep it within \[-1, 1\]"),
    ("dataset", 'version="1"', 'version=""', "provenance is told", "says nothing in version"),
    (
        "metric",
        'return {"NAME_bits": bits / count}',
        'return {"bits": bits / count}',
        "it measures what it declares",
        "returns bits, which columns does not declare",
    ),
    (
        "metric",
        "bits / count}",
        "torch.tensor(bits)}",
        "it measures what it declares",
        "is a Tensor; return plain numbers",
    ),
    ("metric", "bits / count}", "float('nan') * bits}", "it measures what it declares", "nan"),
    ("metric", '= "training"', '= "slow"', "it declares its columns", "lane is 'slow'"),
    (
        "metric",
        "bits, count = 0.0, 0",
        "bits, count = 0.0, 0; next(context.model.parameters()).zero_()",
        "it leaves the model alone",
        "changed; work on copy.deepcopy",
    ),
    ("figure", "        return figure\n", "        return axes\n", "it draws", "return a matplotlib Figure"),
    (
        "figure",
        "if points.empty:",
        "if 1 / len(points) < 0:",
        "it says when there is nothing to draw",
        "raise harness.contracts.NotEnoughData",
    ),
]


@pytest.mark.parametrize(
    ("kind", "old", "new", "law", "message"),
    BROKEN,
    ids=[f"{row[0]}: {row[3]} {n}" for n, row in enumerate(BROKEN)],
)
def test_a_broken_plugin_is_caught_with_the_right_words(check, kind, old, new, law, message):
    found = check(kind, old, new)
    assert re.search(message, found[law]), found


def test_a_plugin_that_raises_on_import_is_named_with_its_line(check):
    with pytest.raises(
        PluginError, match=r"plugin .*broken_\d+\.py failed at line 22: RuntimeError: no luck"
    ):
        check("baseline", "from harness.contracts import require\n", "raise RuntimeError('no luck')\n")


def test_a_plugin_that_registers_nothing_is_told_how(check):
    with pytest.raises(PluginError, match=r'registers nothing; put @register\("models", "my_name"\)'):
        check("baseline", '@register("models", ', "@(lambda *_: lambda cls: cls)('models', ")
