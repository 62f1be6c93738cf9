"""The suites that come with the harness: whoever runs one in any of its profiles gets what it says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from declared import declared

from harness import configuration
from harness.analysis.published import published
from harness.evaluation.quality.rejection import kept
from harness.suite.suite import load_suite

SUITES = sorted((Path(__file__).parents[2] / "suites").glob("*.yaml"))
PROFILES = ("smoke", "laptop", "gpu", "paper")


def is_matched(path):
    return "\nmatch:" in path.read_text()


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_suite_resolves_and_all_its_models_can_be_built(path, profile):
    # Large models take long to count: where all are matched, the small profiles show that it works.
    unmatched = ["match=null"] if is_matched(path) and profile in {"gpu", "paper"} else []
    suite = load_suite(path, profile=profile, overrides=unmatched)
    assert suite.config.question.endswith("?")
    specs = {str(trial.config["model"]): trial.config["model"] for trial in suite.trials}
    variants = {str((trial.config["model"], trial.config["data"])) for trial in suite.trials}
    assert len(suite.trials) == len(variants) * len(suite.config.seed_list)
    if is_matched(path):
        return  # matching has built them
    for spec in specs.values():
        with torch.device("meta"):
            configuration.build("models", spec, vocab_size=256)


def test_the_paper_profile_scores_as_many_clips_as_the_published_protocol():
    suite = load_suite("sample_quality", profile="paper", overrides=["match=null"])
    (quality,) = (metric for metric in suite.trials[0].config["measure"] if metric["name"] == "quality")
    scored = kept(np.arange(quality["clips"]), quality["rejection"])
    (sashimi,) = (row for row in published("sc09") if row.model == "sashimi")
    assert (len(scored), quality["rejection"]) == (sashimi.samples, sashimi.rejection)


def test_everything_that_is_trained_is_compared():
    suite = load_suite("sota_comparison", profile="laptop", overrides=["match=null"])
    compared = {variant.config["model"]["name"] for variant in suite.variants}
    assert compared == set(declared("models"))
