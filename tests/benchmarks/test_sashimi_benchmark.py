"""`python -m benchmarks.sashimi`, with a stand-in for the authors' repository that has its names."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from benchmarks import sashimi
from benchmarks.original_sashimi import network_of
from harness.errors import HarnessError

TINY = (
    *("--batch", "2", "--length", "16", "--width", "4", "--layers", "1", "--pooling", "2,2"),
    *("--repetitions", "2", "--seconds", "0.01"),
)
LAYER = """
    from pytorch_lightning.utilities import rank_zero_only

    MARK = rank_zero_only("theirs")
    OUTPUT_SCALE = 1.0
"""
NETWORK = '''
    import sys
    sys.path.append("../")

    from torch import nn
    from models.s4.s4 import MARK, OUTPUT_SCALE
    from baselines.sashimi import SaShiMi, SaShiMiConfig
    from baselines.sashimi_original import to_original
    from models.mixers.s4 import S4Config

    class Sashimi(nn.Module):
        """Ours inside, theirs outside: the names of weights, and an output that is a pair."""

        def __init__(self, d_model, n_layers, pool, unet, n_ssm, mode, backend):
            super().__init__()
            assert (mode, backend) == ("nplr", "naive")
            self.d_model = d_model
            config = SaShiMiConfig(
                width=d_model, layers=n_layers, pooling=tuple(pool), unet=unet, s4=S4Config(systems=n_ssm)
            )
            self.model = SaShiMi(config, vocab_size=2)

        def state_dict(self):
            return to_original(self.model, {n: p.detach() for n, p in self.model.named_parameters()})

        def forward(self, x):
            return OUTPUT_SCALE * self.model.norm(self.model.backbone(x)), None
'''


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in (("s4/s4.py", LAYER), ("sashimi/sashimi.py", NETWORK)):
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True)
        path.write_text(dedent(text))
    return tmp_path


def test_both_are_compared_and_then_timed(run, checkout):
    table, printed = run(sashimi.app, "--original", str(checkout), *TINY, "--threads", "1", "--tied")
    assert table["name"].tolist() == ["ours", "original"]
    assert table["status"].tolist() == ["ok", "ok"] and table["ours"].tolist() == [True, False]
    assert (table["max_error"] < 1e-5).all() and (table["max_error_grad"] < 1e-5).all()
    tokens = 1e3 * 2 * 16 / table["median_ms"]
    assert table["tokens_per_second"].tolist() == pytest.approx(tokens.tolist())
    assert table["ratio_to_ours"].iloc[0] == 1 and "original" in printed


def test_what_is_not_the_same_model_is_not_timed(run, checkout):
    path = checkout / "models/s4/s4.py"
    path.write_text(path.read_text().replace("1.0", "1.001"))
    with pytest.raises(HarnessError, match="not the same model"):
        run(sashimi.app, "--original", str(checkout), *TINY)


def test_their_packages_are_known_by_their_names_during_the_import_alone(checkout):
    import models.mixers.s4

    before, path = set(sys.modules), list(sys.path)
    assert network_of(checkout).MARK == "theirs"
    assert set(sys.modules) == before and sys.path == path
    assert models.mixers.s4.__name__ == "models.mixers.s4"


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(HarnessError, match=r"has no models/s4/s4\.py"):
        network_of(tmp_path)


def test_a_length_that_theirs_cannot_pool_is_refused(refusal, checkout):
    text = refusal(sashimi.app, "--original", str(checkout), *TINY, "--length", "18")
    assert "--length takes a multiple of all factors" in text
