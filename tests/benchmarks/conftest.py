"""Running a benchmark's command as a person does, and reading what it wrote."""

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner


@pytest.fixture
def run(tmp_path):
    """run(app, *arguments) -> (the CSV as a frame, what was printed)"""

    def run_command(app, *arguments):
        path = tmp_path / "rows.csv"
        done = CliRunner().invoke(app, [*arguments, "--output", str(path)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return pd.read_csv(path), done.output

    return run_command


@pytest.fixture
def refusal():
    """refusal(app, *arguments) -> what a usage error says"""

    def refused(app, *arguments):
        done = CliRunner().invoke(app, [*arguments])
        assert done.exit_code == 2, done.output
        return " ".join(done.output.replace("│", " ").split())

    return refused
