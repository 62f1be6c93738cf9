"""What cannot be built, what a verdict names, and whose mistake a wrong name is."""

import re

import pytest
import torch
from lawful import Lawful
from torch import nn

from harness.conformance import Verdict, check_mixer, check_model, examples_of
from harness.errors import ConfigError, PluginError


class Raises(Lawful):
    def __init__(self, config, vocab_size):
        raise ValueError("no luck today")


class HasNoSteps(nn.Module):
    Config = Lawful.Config

    def __init__(self, config, vocab_size):
        super().__init__()

    def forward(self, tokens):
        return tokens


class IsNoModule:
    Config = Lawful.Config

    def __init__(self, config, vocab_size):
        pass


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Raises, r"it raised ValueError: no luck today \(test_verdicts.py, line \d+\)"),
        (HasNoSteps, "lacks initial_state, step, state_size; see SequenceModel in harness.contracts"),
        (IsNoModule, "is not a torch.nn.Module"),
    ],
)
def test_what_cannot_be_built_is_one_failed_verdict(model, message):
    (verdict,) = check_model(model)
    assert (verdict.law, verdict.passed) == ("construction", False)
    assert re.search(message, verdict.message)


def test_verdicts_name_the_configuration_that_they_are_about():
    class Exemplary(Lawful):
        examples = ({"width": 2}, {"width": 3})

    assert {v.subject.split(".")[-1] for v in check_model(Exemplary)} == {
        "Exemplary {'width': 2}",
        "Exemplary {'width': 3}",
    }
    assert len(check_model(Exemplary, {"width": 4})) == len(check_model(Exemplary)) / 2
    assert examples_of(Lawful) == ({},)
    assert str(Verdict("causality", False, "it leaks", "mine")) == "BROKEN  causality  [mine]: it leaks"


def test_a_wrong_name_or_configuration_is_the_askers_error():
    with pytest.raises(ConfigError, match="did you mean 'transformer'"):
        check_model("transfomer")
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        check_model(Lawful, {"widht": 3})
    with pytest.raises(PluginError, match="has no configuration class"):
        check_mixer(nn.Identity)


def test_checking_leaves_the_random_state_as_it_was():
    before = torch.get_rng_state()
    check_model(Lawful)
    assert torch.equal(torch.get_rng_state(), before)
