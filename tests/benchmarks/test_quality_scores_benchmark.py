"""What the benchmark of the quality scores measures."""

from __future__ import annotations

from typer.testing import CliRunner

from benchmarks.quality_scores import app, biases, costs


def test_help_has_an_example():
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0
    assert "Example: python -m benchmarks.quality_scores" in done.output


def test_every_score_has_a_cost():
    found = dict(costs(60, 60, 8))
    assert list(found)[-1] == "all"
    assert all(row["cpu_seconds"] > 0 for row in found.values())


def test_the_bias_is_of_a_known_truth():
    rows = [row for name, row in biases(2) if name == "fid, equal variances"]
    assert rows[0]["mean"] > rows[1]["mean"] > rows[2]["mean"] > rows[2]["truth"]
