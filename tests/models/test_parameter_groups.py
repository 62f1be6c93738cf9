"""Parameters that train differently: of which mixers, once each, and what the optimiser makes of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from harness.configuration import build
from harness.training.config import TrainConfig
from harness.training.update import Update
from models.parameter_groups import parameter_groups

SSM = ("s4", "s4d", "s5")
OTHERS = ("mamba", "mamba2", "gated_delta_net")


def poolformer(mixer: Any) -> nn.Module:
    spec = {"name": "poolformer", "width": 16, "layers": 1, "pooling": [2], "mixer": mixer}
    return build("models", spec, vocab_size=8)


def names(model: nn.Module, parameters: Any) -> set[str]:
    found = {id(p) for p in parameters}
    return {name for name, p in model.named_parameters() if id(p) in found}


@pytest.mark.parametrize("mixer", SSM)
def test_the_dynamics_of_state_spaces_do_not_decay_and_may_learn_at_a_rate_of_their_own(mixer: str) -> None:
    model = poolformer(mixer)
    (group,) = parameter_groups(model, ssm_learning_rate_scale=0.25)
    assert group.learning_rate_scale == 0.25 and not group.weight_decay
    layers = [module for module in model.modules() if hasattr(module, "direct")]
    own = {id(p) for layer in layers for p in layer.ssm_parameters()}
    assert len(layers) == 3 and {id(p) for p in group.parameters} == own
    assert len(group.parameters) == len(own), "one is named twice"


@pytest.mark.parametrize("mixer", OTHERS)
def test_what_else_must_not_decay_learns_at_the_common_rate(mixer: str) -> None:
    model = poolformer(mixer)
    (group,) = parameter_groups(model, ssm_learning_rate_scale=0.25)
    assert group.learning_rate_scale == 1.0 and not group.weight_decay
    assert {name.rpartition(".")[2] for name in names(model, group.parameters)} <= {"A_log", "D", "dt_bias"}


def test_both_kinds_of_mixers_in_one_model_make_two_groups() -> None:
    first, second = parameter_groups(poolformer(["s4", "mamba"]))
    assert not {id(p) for p in first.parameters} & {id(p) for p in second.parameters}


@pytest.mark.parametrize("mixer", ["rg_lru", "attention"])
def test_a_model_whose_mixers_say_nothing_has_no_groups(mixer: str) -> None:
    assert parameter_groups(poolformer(mixer)) == []


def test_the_optimiser_lets_all_else_decay() -> None:
    model = poolformer(["s4", "mamba"])
    update = Update(model, TrainConfig(weight_decay=0.1))
    used = update.optimizer.param_groups
    kept = [p for group in used if not group["weight_decay"] for p in group["params"]]
    named = [p for group in parameter_groups(model) for p in group.parameters]
    assert names(model, kept) == names(model, named)
    assert sum(len(group["params"]) for group in used) == len(list(model.parameters()))
    update.apply(model(torch.zeros(2, 8, dtype=torch.long)).square().mean())
