"""`columns:` of a suite: what its summary shows people, and nothing that a trial depends on."""

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.suite.suite import load_suite

PLUGIN = Path(__file__).parents[1] / "execution" / "toy_plugin.py"
SUITE = f"""name: toy
plugins: [{PLUGIN}]
base:
  model: {{name: tiny}}
  data: {{name: tiny_data}}
  train: {{steps: 2}}
seeds: 1
measure: [nll]
"""


@pytest.fixture
def load(tmp_path):
    def load(columns="", **options):
        file = tmp_path / "toy.yaml"
        file.write_text(SUITE + columns)
        return load_suite(file, **options)

    return load


def test_columns_are_kept_in_order_and_change_no_key(load):
    chosen = load("columns: [train_seconds, nll_bits_test]\n")
    assert chosen.config.columns == ("train_seconds", "nll_bits_test")
    assert [trial.key for trial in chosen.trials] == [trial.key for trial in load().trials]


def test_a_profile_or_an_override_may_choose_others(load):
    suite = "columns: [nll_bits_test]\nprofiles: {short: {columns: [nll_bits_train]}}\n"
    assert load(suite, profile="short").config.columns == ("nll_bits_train",)
    assert load(suite, overrides=["columns=[train_seconds]"]).config.columns == ("train_seconds",)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("[nll_bits_tset]", "nothing measures 'nll_bits_tset'; did you mean 'nll_bits_test'"),
        ("[train_seconds, train_step_ms]", "nothing measures 'train_step_ms'"),
        ("[nll_bits_test, nll_bits_test]", "the same column is named twice"),
    ],
)
def test_a_column_that_nothing_measures_is_refused_where_it_stands(load, columns, words):
    with pytest.raises(HarnessError) as refused:
        load(f"columns: {columns}\n")
    assert words in str(refused.value) and "toy.yaml:9" in str(refused.value)
