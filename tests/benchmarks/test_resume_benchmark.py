"""`python -m benchmarks.resume` and `python -m benchmarks.kills`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from benchmarks import kills, resume

SMALL = "small={name: poolformer, width: 8, layers: 1, pooling: [2], dropout: 0.0}"


def test_a_step_a_write_and_a_continuation_are_rows(run, tmp_path):
    arguments = ["--model", SMALL, "--length", "20", "--seconds", "0", "--repetitions", "2"]
    table, printed = run(resume.app, *arguments, "--folder", str(tmp_path))
    assert list(table["what"]) == ["step", "write", "continue"] and (table["median_ms"] > 0).all()
    (size,) = table["file_mib"].dropna().unique()
    assert size * 2**20 > 4 * 4 * table["parameters"][0]  # weights, two moments, averages
    assert 0 < table["share_of_time"][1] <= 0.01
    assert "a file every 60 s" in printed and [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize("app", [resume.app, kills.app])
def test_help_has_an_example(app):
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0 and "Example: python -m benchmarks." in done.output
