"""Equal budgets: a variant's width is solved, goes into its trials, and is said with the difference."""

import json

import pytest

from harness.errors import HarnessError
from harness.suite import budget
from harness.suite.suite import load_suite

PLUGIN = '''
from dataclasses import dataclass
import torch
from torch import nn
from harness.contracts import require
from harness.registry import register


class Net(nn.Module):
    def __init__(self, config, *, vocab_size):
        super().__init__()
        self.table = nn.Embedding(vocab_size, config.width)
        self.layers = nn.Sequential(*(nn.Linear(config.width, config.width) for _ in range(config.layers)))
        self.head = nn.Linear(config.width, vocab_size)

    def forward(self, tokens):
        return self.head(self.layers(self.table(tokens)))


@register("models", "net")
class Any(Net):
    """Takes any width."""
    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 32
        layers: int = 2
        def __post_init__(self):
            require(self.width > 0, "width", "must be positive")


@register("models", "eights")
class Eights(Net):
    """Takes multiples of eight."""
    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 8
        layers: int = 1
        def __post_init__(self):
            require(self.width % 8 == 0, "width", "must be a multiple of 8")


@register("models", "hidden")
class Hidden(Net):
    """Calls its width otherwise."""
    @dataclass(frozen=True, kw_only=True)
    class Config:
        hidden: int = 4
        layers: int = 1
        @property
        def width(self):
            return self.hidden


@register("models", "counted")
class Counted(nn.Module):
    """Closed form."""
    @dataclass(frozen=True, kw_only=True)
    class Config:
        order: int = 1
    def __init__(self, config, *, vocab_size):
        super().__init__()
    def fit(self, batches): ...


@register("datasets", "sixteen")
class Sixteen:
    """No data."""
    @dataclass(frozen=True, kw_only=True)
    class Config:
        length = 16
        vocab_size = 16
        sample_rate = 8000
'''

HEAD = """name: demo
plugins: [match_plugin.py]
measure: []
figures: []
base: {model: {name: net, width: 100}, data: sixteen, train: {batch_size: 2}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("match")
    (folder / "match_plugin.py").write_text(PLUGIN)
    return folder


@pytest.fixture
def load(home):
    def load(text, **options):
        (home / "demo.yaml").write_text(HEAD + text)
        return load_suite(home / "demo.yaml", **options)

    return load


def variant(suite, name):
    return next(v for v in suite.variants if name in (v.name, *v.aliases))


def parameters(width, layers):
    return 16 * width + layers * (width + 1) * width + (width + 1) * 16


def test_each_variant_gets_the_width_with_the_parameters_of_the_base(load):
    suite = load("match: {by: parameters}\nvariants: {deep: {model: {layers: 8}}, e: {model: eights}}\n")
    deep, eights = variant(suite, "deep"), variant(suite, "e")
    assert deep.match.budget == parameters(100, 2)
    errors = {w: abs(parameters(w, 8) - parameters(100, 2)) for w in range(1, 100)}
    assert deep.config["model"]["width"] == min(errors, key=errors.get)
    assert eights.config["model"] == {"name": "eights", "width": 136, "layers": 1}
    assert eights.match.achieved == parameters(136, 1)
    assert abs(eights.match.difference) < 0.03


def test_flops_are_matched_too(load):
    suite = load("match: {by: flops}\nvariants: {deep: {model: {layers: 8}}}\n")
    deep = variant(suite, "deep").match
    assert deep.budget == 2 * (2 * 100**2 + 16 * 100)
    assert abs(deep.difference) < 0.03


def test_a_solved_width_has_the_key_of_the_same_width_by_hand(load):
    solved = load("match: {}\nvariants: {deep: {model: {layers: 8}}}\n")
    width = variant(solved, "deep").match.value
    by_hand = load(f"variants: {{deep: {{model: {{layers: 8, width: {width}}}}}}}\n")
    assert [t.key for t in solved.trials] == [t.key for t in by_hand.trials]


def test_a_budget_follows_the_base_under_a_profile_and_wins_over_a_width_laid_over_all(load):
    text = "match: {}\nvariants: {deep: {model: {layers: 8}}}\nprofiles: {small: {model: {width: 60}}}\n"
    suite = load(text, profile="small")
    assert variant(suite, "base").config["model"]["width"] == 60
    assert variant(suite, "deep").match.budget == parameters(60, 2)
    assert variant(suite, "deep").config["model"]["width"] < 60


def test_a_variant_may_name_another_setting_opt_out_or_opt_in(load):
    suite = load(
        "match: {}\nvariants:\n  h: {model: hidden, match: {field: hidden}}\n"
        "  out: {model: eights, match: null}\n"
    )
    assert variant(suite, "h").config["model"]["hidden"] == variant(suite, "h").match.value > 100
    assert variant(suite, "out").match is None
    assert variant(suite, "out").config["model"]["width"] == 8
    suite = load("variants: {in: {model: eights, match: {to: big}}, big: {model: {width: 200}}}\n")
    assert variant(suite, "in").match.budget == parameters(200, 2)
    assert variant(suite, "big").match is None


def test_an_extending_variant_inherits_the_match(load):
    suite = load("variants: {a: {model: eights, match: {}}, b: {extends: a, model: {layers: 5}}}\n")
    assert abs(variant(suite, "b").match.difference) < 0.03


def test_closed_forms_and_widths_that_vary_are_left_alone_and_said_to_be(load):
    suite = load("match: {}\nvary: {model.width: [50]}\nvariants: {c: {model: counted}}\n")
    assert variant(suite, "width=50").config["model"]["width"] == 50
    remarks = [variant(suite, name).match.remark for name in ("width=50", "c")]
    assert remarks == ["its width is what varies", "closed form: nothing is trained"]


def test_a_profile_and_the_command_line_may_change_or_drop_the_match(load):
    text = """match: {}
variants: {e: {model: eights}}
profiles: {p: {match: {by: flops, tolerance: 0.1}}, q: {match: null}}
"""
    assert variant(load(text, profile="p"), "e").match.by == "flops"
    assert variant(load(text, profile="q"), "e").match is None
    assert variant(load(text, overrides=["match.tolerance=0.5"]), "e").match.tolerance == 0.5
    assert variant(load(text, overrides=["variants.e.match=null"]), "e").match is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "match: {tolerance: 0.001}\nvariants: {e: {model: eights}}\n",
            ["demo.yaml:6:1", "variant 'e'", "closest: width 136 (-1.8%), width 144 (+8.9%)"],
        ),
        ("match: {by: parametres}\n", ["demo.yaml:6:9", "parametres"]),
        ("match: {too: base}\n", ["demo.yaml:6:9", "did you mean 'to'?"]),
        ("match: {to: bass}\nvariants: {e: {model: eights}}\n", ["demo.yaml:6:9", "did you mean 'base'?"]),
        ("match: {tolerance: 0}\n", ["demo.yaml:6:9", "above 0"]),
        ("match: {}\nvariants: {h: {model: hidden}}\n", ["variant 'h'", "no setting 'width'", "hidden"]),
        ("variants: {e: {model: eights, match: 3}}\n", ["demo.yaml:6:31", "a mapping or null"]),
        ("variants: {e: {model: eights, match: {by: 3}}}\n", ["demo.yaml:6:39", "by"]),
        ("match: {to: c}\nvariants: {c: {model: counted, match: null}}\n", ["has no parameters"]),
        (
            "match: {}\nvariants: {a: {model: eights}, b: {model: eights, match: {to: a}}}\n",
            ["demo.yaml:7:", "is matched to 'base' itself"],
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_its_cure(load, text, words):
    with pytest.raises(HarnessError) as caught:
        load(text)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_step_time_is_measured_once_and_the_same_width_found_again(load, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    calls = []

    def step_seconds(spec, train, *, vocab_size, length):
        calls.append(spec["width"])
        return 1e-6 * spec["width"] * (1 + 0.01 * len(calls))  # a clock that drifts

    monkeypatch.setattr("harness.evaluation.step_time.step_seconds", step_seconds)
    text = "match: {by: step_time, tolerance: 0.1}\nvariants: {e: {model: eights}}\n"
    first = variant(load(text), "e")
    assert "leave this machine idle" in caplog.text
    assert abs(first.match.difference) <= 0.1
    measured = len(calls)
    again = variant(load(text), "e")
    assert (again.config, len(calls)) == (first.config, measured)


def test_a_real_step_is_timed(load, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setattr("harness.evaluation.step_time.SECONDS", 0.0)
    assert 0 < budget.budget_of("step_time", load("").variants[0].config) < 1000
    (file,) = (tmp_path / "step_times").glob("*.json")
    file.write_text(json.dumps({"milliseconds": "soon"}))
    with pytest.raises(HarnessError, match="remove it to measure again"):
        budget.budget_of("step_time", load("").variants[0].config)
