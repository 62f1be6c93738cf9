"""A suite of toy trials in a folder of its own."""

from pathlib import Path

import pandas as pd
import pytest

PLUGIN = Path(__file__).parent / "toy_plugin.py"

SUITE = """name: toy
plugins: [{plugin}]
base:
  model: {{name: tiny}}
  data: {{name: tiny_data}}
  train: {{steps: 3, batch_size: 2, warmup_steps: 0, validate_every: 2}}
{more}
measure: [nll, alone]
figures: []
"""

VOLATILE = [
    "alone_from", "alone_to", "train_seconds", "started_at", "git_dirty", "git_commit", "threads",
]  # fmt: skip


@pytest.fixture(scope="session")
def deterministic():
    """The columns of a table that a repetition must give again."""

    def deterministic(table: pd.DataFrame) -> pd.DataFrame:
        return table.drop(columns=VOLATILE, errors="ignore").reset_index(drop=True)

    return deterministic


@pytest.fixture(scope="session")
def suite_text():
    """A toy suite's text with the given lines in it."""
    return lambda more: SUITE.format(plugin=PLUGIN, more=more)


@pytest.fixture
def toy_suite(tmp_path, suite_text):
    """Writes a suite with the given lines in it; returns its path."""

    def write(more="vary: {model.width: [2, 8]}\nseeds: 2"):
        file = tmp_path / "toy.yaml"
        file.write_text(suite_text(more))
        return file

    return write
