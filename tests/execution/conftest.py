"""A suite of toy trials in a folder of its own."""

from pathlib import Path

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


@pytest.fixture
def toy_suite(tmp_path):
    """Writes a suite with the given lines in it; returns its path."""

    def write(more="vary: {model.width: [2, 8]}\nseeds: 2"):
        file = tmp_path / "toy.yaml"
        file.write_text(SUITE.format(plugin=PLUGIN, more=more))
        return file

    return write
