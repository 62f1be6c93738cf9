"""What `harness list` says of models and their presets."""

import json

import pytest
from typer.testing import CliRunner

from harness.cli.main import app


@pytest.fixture
def listed():
    def listed(*arguments):
        done = CliRunner().invoke(app, ["list", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    return listed


def test_models_are_listed_with_the_names_of_their_presets(listed):
    (line,) = (line for line in listed("models").splitlines() if line.startswith("sample_rnn "))
    assert line.endswith("[presets: paper]")


def test_presets_are_listed_with_their_source_and_published_count(listed):
    (line,) = (line for line in listed("presets").splitlines() if line.startswith("sample_rnn/paper"))
    assert "SampleRNN" in line and line.endswith("; 35,000,000 parameters")
    found = json.loads(listed("presets", "--json"))["sample_rnn/paper"]
    assert (found["config"]["width"], found["parameters"]) == (1024, 35_000_000)


def test_published_numbers_are_listed_with_their_source_and_doubtful_ones_marked(listed):
    lines = listed("published").splitlines()
    (sashimi,) = (line for line in lines if line.startswith("sc09/sashimi  "))
    assert "nll_bits_test 1.891, fid 1.99," in sashimi and "human_quality 3.29?" in sashimi
    assert sashimi.endswith("state-spaces/s4 models/sashimi/README.md")
    found = json.loads(listed("published", "--json"))["sc09/mamba_unet"]
    assert (found["nll_bits_test"], found["rejection"]) == (1.852, None)
