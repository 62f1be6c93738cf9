"""`python -m benchmarks.poolformer`, with a stand-in for the Python that runs the authors' code."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from benchmarks import poolformer
from benchmarks.original_poolformer import NETWORK

TINY = (
    *(
        "--batch",
        "2",
        "--length",
        "16",
        "--width",
        "8",
        "--hidden",
        "64",
        "--layers",
        "1",
        "--pooling",
        "2,2",
    ),
    *("--threads", "1", "--repetitions", "2", "--seconds", "0.01"),
)
STAND_IN = """\
    #!{python}
    # Ours inside, theirs outside: orders, answers, and the names of weights.
    import json, sys
    import numpy as np, torch
    from harness.training.loss import mean_bits
    from models.original import config_from_original, to_original
    from models.poolformer import Poolformer

    order = json.loads(sys.argv[3])
    assert order["threads"] == 1
    torch.manual_seed(0)
    model = Poolformer(config_from_original(order["settings"]), 256)
    values = to_original(model, {{n: p.detach() for n, p in model.named_parameters()}})
    np.savez(order["weights"], **{{name: value.numpy() for name, value in values.items()}})
    tokens = torch.from_numpy(np.load(order["tokens"]))
    loss = {wrong} + float(mean_bits(model(tokens), tokens, torch.full((len(tokens),), tokens.shape[1])))

    def say(answer):
        print(json.dumps(answer), flush=True)

    say({{"jax_version": "0.0"}})
    say({{"loss_bits": loss, "first_step_s": 1.5}})
    for _ in sys.stdin:
        say({{"loss_bits": loss}})
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / NETWORK).parent.mkdir(parents=True)
    (tmp_path / NETWORK).write_text("")
    return tmp_path


def stand_in(folder: Path, wrong: float = 0.0) -> str:
    path = folder / "python"
    path.write_text(dedent(STAND_IN).format(python=sys.executable, wrong=wrong))
    path.chmod(0o755)
    return str(path)


def test_both_are_compared_and_then_timed(run, checkout, tmp_path):
    of = ("--original", str(checkout), "--original-python", stand_in(tmp_path))
    table, printed = run(poolformer.app, *of, *TINY)
    assert table["name"].tolist() == ["ours", "original, sequential scan"]
    assert table["status"].tolist() == ["ok", "ok"] and table["ours"].tolist() == [True, False]
    theirs = table.iloc[1]
    assert theirs["max_error"] < 1e-5 and theirs["first_step_s"] == 1.5
    assert theirs["package"] == "jax" and theirs["note"] == "unrolled by 1"
    assert table["parameters"].nunique() == 1
    tokens = 1e3 * 2 * 16 / table["median_ms"]
    assert table["tokens_per_second"].tolist() == pytest.approx(tokens.tolist())
    assert "original, sequential scan" in printed


def test_help_has_an_example():
    done = CliRunner().invoke(poolformer.app, ["--help"])
    assert done.exit_code == 0 and "Example: python -m benchmarks.poolformer" in done.output


def test_what_is_not_the_same_model_is_not_timed(run, checkout, tmp_path):
    of = ("--original", str(checkout), "--original-python", stand_in(tmp_path, wrong=0.01))
    table, _ = run(poolformer.app, *of, *TINY)
    assert table["status"].tolist() == ["ok", "wrong"]
    assert "its loss is" in table["note"].iloc[1] and table["median_ms"].isna().tolist() == [False, True]


def test_a_process_that_ends_is_a_row_with_what_it_said_last(run, checkout):
    of = ("--original", str(checkout), "--original-python", sys.executable)  # which has no JAX
    table, _ = run(poolformer.app, *of, *TINY)
    assert table["status"].tolist() == ["ok", "failed"]
    assert "No module named 'jax'" in table["note"].iloc[1]


def test_a_folder_that_is_no_checkout_is_refused(refusal, tmp_path):
    text = refusal(poolformer.app, "--original", str(tmp_path), "--original-python", "python", *TINY)
    assert "has no models/patch_autoregressive.py" in text


def test_an_unknown_scan_is_refused(refusal, checkout):
    text = refusal(
        *(poolformer.app, "--original", str(checkout), "--original-python", "python"),
        *(*TINY, "--scans", "pallas"),
    )
    assert "--scans takes sequential, associative" in text
