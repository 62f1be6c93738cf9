"""Every registered model and mixer, in every configuration that it names, keeps every law."""

import pytest

from harness import registry
from harness.conformance import check_mixer, check_model, examples_of
from harness.errors import PluginError


def cases(kind):
    found = []
    for name in registry.names(kind):
        try:
            examples = examples_of(registry.get(kind, name))
        except PluginError:  # a broken one fails its own test, not the collection of all
            examples = ({},)
        for number, example in enumerate(examples):
            found.append(pytest.param(name, example, id=f"{name}-{number}"))
    return found


def broken(verdicts):
    assert len(verdicts) > 10
    return [str(verdict) for verdict in verdicts if not verdict.passed]


@pytest.mark.parametrize(("name", "example"), cases("models"))
def test_a_registered_model_keeps_the_laws(name, example):
    assert not broken(check_model(name, example))


@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize(("name", "example"), cases("mixers"))
def test_a_registered_mixer_keeps_the_laws(name, example, width):
    assert not broken(check_mixer(name, example, width=width))


@pytest.mark.parametrize("name", registry.names("mixers"))
def test_a_registered_mixer_keeps_the_laws_on_coarse_levels(name):
    assert not broken(check_mixer(name, stride=160))
