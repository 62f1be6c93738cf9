"""A slip of the keyboard that asks for more than any machine could list or build is refused at once."""

import pytest

from harness.errors import ConfigError
from harness.evaluation import flops
from harness.suite.extent import LARGEST_SEED, MOST_TRIALS
from harness.suite.source import SuiteError
from harness.suite.suite import load_suite

SUITE = """name: large
base:
  model: {name: gru, width: 4, layers: 1}
  data: {name: synthetic_digits, seconds: 0.1}
  train: {steps: 1, batch_size: 1}
"""


@pytest.fixture
def load(tmp_path):
    def load(*lines):
        (tmp_path / "large.yaml").write_text(SUITE + "\n".join(lines) + "\n")
        return load_suite(tmp_path / "large.yaml")

    return load


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("seeds: 1000000000000", "asks for 1,000,000,000,000 seeds"),
        ("seeds: 99999999999999999999", "seeds; a suite may have"),
        (f"seeds: [{LARGEST_SEED + 1}]", "must be at most"),
        (
            f"grid: {{train.steps: {[*range(1, 400)]}, train.batch_size: {[*range(1, 400)]}}}\nseeds: 1",
            "grid: asks for 159,202 trials",
        ),
        (
            "tune: {over: {train.learning_rate: {uniform: [1, 2]}}, trials: 1000000000}\nseeds: 1",
            "trials: must be at most 10,000",
        ),
    ],
)
def test_more_than_can_be_listed_is_refused_with_its_place(load, line, words):
    with pytest.raises(SuiteError, match=rf"large\.yaml:\d+:\d+: .*{words}"):
        load(line)


def test_what_a_large_study_needs_is_not_refused(load):
    assert len(load("seeds: 1000").trials) == 1000
    assert load(f"seeds: [{LARGEST_SEED}]").trials[0].seed == LARGEST_SEED
    assert MOST_TRIALS >= 10_000


def test_a_model_of_more_parts_than_can_be_built_is_refused_as_it_grows(monkeypatch):
    spec = {"name": "gru", "width": 4, "layers": 50}
    assert flops.count_parameters(flops.build_to_count(spec, vocab_size=4)) > 0
    monkeypatch.setattr(flops, "MOST_PARTS", 40)
    with pytest.raises(ConfigError, match="gru would have more than 40 modules"):
        flops.build_to_count(spec, vocab_size=4)
