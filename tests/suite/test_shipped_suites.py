"""The suites that come with the harness: whoever runs one in any of its profiles gets what it says."""

from pathlib import Path

import pytest
import torch

from harness import configuration
from harness.suite.suite import load_suite

SUITES = sorted((Path(__file__).parents[2] / "suites").glob("*.yaml"))
PROFILES = ("smoke", "laptop", "gpu", "paper")


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_suite_resolves_and_all_its_models_can_be_built(path, profile):
    suite = load_suite(path, profile=profile)
    assert suite.config.question.endswith("?")
    specs = {str(trial.config["model"]): trial.config["model"] for trial in suite.trials}
    assert len(suite.trials) == len(specs) * len(suite.config.seed_list)
    for spec in specs.values():
        with torch.device("meta"):
            configuration.build("models", spec, vocab_size=256)
