"""One update of the parameters: gradient, clipping, the skip rule, AdamW, schedule and average.

The rules are those of the original Poolformer code: an update whose gradient explodes is skipped
whole, so that Adam's moments and count, the schedule and the averaged weights stay as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from harness.contracts import ParameterGroup
from harness.errors import PluginError
from harness.training.average import copy_weights, move_average
from harness.training.config import TrainConfig
from harness.training.ranks import ALONE, Ranks
from harness.training.schedule import learning_rate


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What one update did. `loss` and `gradient_norm` (before clipping) may be nan or infinite."""

    loss: float
    gradient_norm: float
    skipped: bool
    learning_rate: float
    """Of the schedule at this point; a skipped update did not use it."""


class Update:
    """Applies losses to a model.

    Attributes:
        ranks: the processes whose losses add up to that of the batch, and their gradients with them.
        forward: the model's forward pass in training, compiled where the config says so.
        optimizer: torch.optim.AdamW, one group per `ParameterGroup` and decay choice.
        average: the averaged weights by parameter name, on the model's device.
        applied, skipped: how many updates were.

    Raises: PluginError for a model whose `optimizer_groups` do not fit its parameters.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, ranks: Ranks = ALONE) -> None:
        self.model = model
        self.config = config
        self.ranks = ranks
        self.forward: Callable[[Tensor], Tensor] = torch.compile(model) if config.compile else model
        self.optimizer = _adamw(model, config)
        self.average: dict[str, Tensor] = copy_weights(model)
        weights = dict(model.named_parameters())  # walking through a model's modules takes a millisecond
        self._averaged: list[Tensor] = [weights[name] for name in self.average]
        self.applied = 0
        self.skipped = 0

    def apply(self, loss: Tensor) -> Applied:
        """Backward and update from a scalar loss. Gradients are released on the way out."""
        return self.apply_sum((loss,))

    def apply_sum(self, losses: Iterable[Tensor]) -> Applied:
        """Of losses that add up, at least one: backward from each before the next is asked for.

        Waits for the device once, when loss and norm are read together.
        """
        self.optimizer.zero_grad(set_to_none=True)  # whatever someone else may have left
        parts = []
        for loss in losses:
            loss.backward()
            parts.append(loss.detach())
        loss_tensor = self.ranks.add_up(self.parameters, _sum(parts))
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm_tensor = get_total_norm(gradients)
        loss_value, norm = torch.stack((loss_tensor.to(norm_tensor), norm_tensor)).tolist()
        rate = learning_rate(self.config, self.applied)
        skip = self._explodes(loss_value, norm)
        if skip:
            self.skipped += 1
        else:
            self._clip(gradients, norm)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["learning_rate_scale"]
            self.optimizer.step()
            move_average(list(self.average.values()), self._averaged, self.config.ema_decay)
            self.applied += 1
        self.optimizer.zero_grad(set_to_none=True)  # not kept through the next forward pass
        return Applied(loss=loss_value, gradient_norm=norm, skipped=skip, learning_rate=rate)

    @property
    def parameters(self) -> list[Tensor]:
        """Everything that is trained, in the optimiser's order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _explodes(self, loss: float, norm: float) -> bool:
        limit = self.config.skip_norm
        finite = math.isfinite(loss) and math.isfinite(norm)
        return not finite or (limit is not None and norm >= limit)

    def _clip(self, gradients: list[Tensor], norm: float) -> None:
        if self.config.clip_norm is None:
            return
        scale = self.config.clip_norm / (norm + 1e-6)
        if scale < 1:
            torch._foreach_mul_(gradients, scale)


def _sum(parts: Sequence[Tensor]) -> Tensor:
    """A single part as it is."""
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).sum()


def _adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    groups: list[dict[str, Any]] = []
    for group in _parameter_groups(model):
        decayed = [p for p in group.parameters if _decays(p, group, config)]
        others = [p for p in group.parameters if not _decays(p, group, config)]
        for parameters, decay in ((decayed, config.weight_decay), (others, 0.0)):
            if parameters:
                groups.append(
                    {
                        "params": parameters,
                        "weight_decay": decay,
                        "learning_rate_scale": group.learning_rate_scale,
                    }
                )
    parameters = [p for group in groups for p in group["params"]]
    return torch.optim.AdamW(
        groups,
        lr=0.0,  # set before each step
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=all(_can_fuse(p) for p in parameters),
    )


def _parameter_groups(model: nn.Module) -> list[ParameterGroup]:
    """The model's own groups, and a default group of every trainable parameter they leave out."""
    trainable = {id(p): p for p in model.parameters() if p.requires_grad}
    if not trainable:
        raise PluginError(f"{type(model).__name__} has no trainable parameter; a counted model needs `fit`")
    declared: Iterable[ParameterGroup] = getattr(model, "optimizer_groups", list)()
    own = [
        ParameterGroup(
            parameters=[p for p in group.parameters if p.requires_grad],
            learning_rate_scale=group.learning_rate_scale,
            weight_decay=group.weight_decay,
        )
        for group in declared
    ]
    for parameter in (p for group in own for p in group.parameters):
        if trainable.pop(id(parameter), None) is None:
            raise PluginError(
                f"{type(model).__name__}.optimizer_groups names a tensor twice, "
                f"or one that is no parameter of the model (shape {tuple(parameter.shape)})"
            )
    return [ParameterGroup(parameters=list(trainable.values())), *own]


def _decays(parameter: Tensor, group: ParameterGroup, config: TrainConfig) -> bool:
    return group.weight_decay and (config.decay == "all" or parameter.ndim >= 2)


def _can_fuse(parameter: Tensor) -> bool:
    return parameter.device.type in {"cpu", "cuda"} and parameter.is_floating_point()
