"""`harness compare`, `harness leaderboard` and `harness report --columns` on the reference results."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.errors import HarnessError

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "pooling_ablation"


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def refusal(*arguments):
    """What `main` prints of a mistake."""
    done = run(*arguments)
    assert isinstance(done.exception, HarnessError), done
    return str(done.exception)


@pytest.fixture(scope="module")
def worse(tmp_path_factory):
    """The reference results with a twentieth of a bit more loss, noise of a hundredth aside."""
    folder = tmp_path_factory.mktemp("results") / "worse"
    shutil.copytree(REFERENCE, folder, ignore=shutil.ignore_patterns("figures"))
    for number, file in enumerate(sorted(folder.glob("trials/*/record.json"))):
        record = json.loads(file.read_text())
        record["columns"]["nll_bits_test"] += 0.05 + 0.01 * ((number * 7) % 5 - 2) / 2
        file.write_text(json.dumps(record))
    return folder


def test_a_worse_run_fails_where_that_is_asked(worse):
    done = run("compare", REFERENCE, worse, "--metric", "nll_bits_test", "--fail-on", "worse", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    verdicts = {metric["metric"]: metric["verdict"] for metric in found["metrics"]}
    assert verdicts == {"trials_ok": "same", "nll_bits_test": "worse"}
    assert (found["trials_before"], found["pairs"], found["equal_keys"]) == (42, 42, 42)
    assert run("compare", worse, REFERENCE, "-m", "nll_bits_test", "--fail-on", "worse").exit_code == 0


def test_markdown_for_a_pull_request(worse):
    done = run("compare", REFERENCE, worse, "-m", "nll_bits_test", "--markdown")
    assert done.exit_code == 0 and "**Worse: Test NLL" in done.stdout
    assert "| Test NLL (bits/sample) ↓ | mean of the variants |" in done.stdout


def test_a_margin_is_an_amount_or_a_share(worse):
    asked = ("compare", REFERENCE, worse, "-m", "nll_bits_test", "--json", "--margin")
    for margin in ("nll_bits_test=0.2", "nll_bits_test=4%"):
        mean = next(row for row in json.loads(run(*asked, margin).stdout)["rows"] if not row["variant"])
        assert mean["verdict"] == "same" and mean["tolerated"] == pytest.approx(0.21, abs=0.02)


@pytest.mark.parametrize("margin", ["nll_bits_test", "nll_bits_test=x", "=1", "nll_bits_test=-1", "a=nan"])
def test_a_margin_that_is_none_is_one_line(margin):
    assert f"--margin {margin}: expected COLUMN=AMOUNT" in refusal(
        "compare", REFERENCE, REFERENCE, "--margin", margin
    )


def test_a_folder_without_results_is_named(tmp_path):
    assert f"{tmp_path}: holds no plan.json" in refusal("compare", REFERENCE, tmp_path)


def test_records_of_another_protocol_are_named_as_such(worse, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(worse, folder)
    plan = json.loads((folder / "plan.json").read_text())
    plan["seeds"] = [90, 91]
    (folder / "plan.json").write_text(json.dumps(plan))
    assert "another version of the protocol" in refusal("compare", REFERENCE, folder)


def test_a_leaderboard_by_any_column_in_any_format():
    by = ("leaderboard", REFERENCE, "--by", "train_step_ms", "--format")
    board = json.loads(run(*by, "json").stdout)
    assert [row["rank"] for row in board[:3]] == [1, 2, 3] and board[0]["behind"] == 0
    assert run(*by, "csv").stdout.startswith("rank,variant,n_ok,")
    assert r"\label{tab:pooling-ablation-by-train-step-ms}" in run(*by, "latex").stdout
    assert run(*by, "markdown").stdout.startswith("| Rank | Variant |")
    assert "Training step ↓" in run(*by, "terminal").stdout
    assert "no order by 'x'" in refusal("leaderboard", REFERENCE, "--by", "x")


def test_columns_of_a_report_are_those_asked_for(tmp_path):
    assert "no trial has measured 'nll'" in refusal("report", REFERENCE, "--columns", "nll")
