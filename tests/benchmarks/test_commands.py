"""What every benchmark has in common."""

from __future__ import annotations

import importlib

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import options, output
from benchmarks.circumstances import circumstances, version_of

COMMANDS = ("scan", "gated", "train_step", "sashimi", "generation", "growth")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name):
    app = importlib.import_module(f"benchmarks.{name}").app
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0
    assert f"Example: python -m benchmarks.{name}" in done.output
    for option in ("--threads", "--device", "--output", "--repetitions"):
        assert option in done.output


def test_rows_say_where_they_come_from():
    found = circumstances("scan", torch.device("cpu"))
    assert found["device"] == "cpu" and found["torch_version"] == torch.__version__
    assert found["command"].startswith("python -m benchmarks.scan")
    assert {"git_commit", "git_dirty", "cpu_model", "date"} <= found.keys()
    assert {*found} <= {*output.COLUMNS, *output.CIRCUMSTANCES}


@pytest.mark.parametrize(("load", "warns"), [(0.1, False), (3.0, True), (None, False)])
def test_a_busy_machine_is_warned_of(monkeypatch, capsys, load, warns):
    monkeypatch.setattr("benchmarks.circumstances.LOAD_AT_START", load)
    options.device("cpu")
    assert ("others are running" in capsys.readouterr().err) == warns


def test_the_version_of_what_is_not_installed_is_empty():
    assert version_of("torch") and version_of("package-that-nobody-has") == ""


def test_threads_are_set_inside_a_block_only():
    before = torch.get_num_threads()
    with options.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_table_has_the_common_columns_first_and_the_circumstances_last():
    table = output.frame([{"name": "x", "own": 1}, {"name": "y", "median_ms": 2.0}], {"date": "today"})
    assert list(table.columns) == [*output.COLUMNS, "own", *output.CIRCUMSTANCES]
    assert table["date"].tolist() == ["today"] * 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (20, "20"),
        (1_263_360, "1,263,360"),
        (0.24567, "0.246"),
        (1234.5, "1,234"),
        (3.2e-7, "3.2e-07"),
        ("native", "native"),
    ],
)
def test_numbers_are_written_as_people_read_them(value, text):
    assert output.text(value) == text
