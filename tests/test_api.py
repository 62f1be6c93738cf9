"""The Python API: the same as the command line, importable without weight."""

import subprocess
import sys

import pytest
import torch

import harness
from harness.errors import ConfigError


def test_importing_harness_imports_nothing_heavy():
    code = "import harness, sys; dir(harness); assert not {'torch', 'ray', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_that_is_promised_is_there():
    for name in harness.__all__:
        assert callable(getattr(harness, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = harness.nothing


def test_build_model_takes_a_name_or_a_mapping():
    model = harness.build_model({"name": "poolformer", "width": 16, "layers": 1, "pooling": [2]})
    assert model(torch.zeros(1, 5, dtype=torch.long)).shape == (1, 5, 256)
    assert harness.build_model("unigram", vocab_size=7)(torch.zeros(1, 2, dtype=torch.long)).shape == (
        1,
        2,
        7,
    )


def test_a_wrong_setting_is_told():
    with pytest.raises(ConfigError, match=r"widht.*did you mean 'width'"):
        harness.build_model({"name": "poolformer", "widht": 16})


def test_a_suite_of_ours_is_found_by_name_and_has_trials():
    suite = harness.load_suite("pooling_ablation", profile="smoke")
    assert {trial.variant for trial in suite.trials} >= {"base", "pooling=[1,1,1,1]", "transformer", "markov"}


def test_a_data_set_decodes_what_it_encoded():
    data = harness.load_dataset({"name": "synthetic_digits", "seconds": 0.1, "speakers": 3})
    tokens = data.splits["test"].tokens
    waveform = data.decode(tokens[0])
    assert tokens.shape[1] == data.length == len(waveform)
    assert abs(waveform).max() <= 1.0
