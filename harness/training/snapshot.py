"""A training as it stands between two updates: everything that the next ones depend on.

Weights and buffers, averaged weights, the optimiser's moments and counts, random states. The order of
the data and the learning rate follow from the numbers of updates (see `batches` and `schedule`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.training.checkpoint import state_of
from harness.training.random_states import random_states, set_random_states
from harness.training.ranks import Ranks
from harness.training.tensor_file import differences
from harness.training.update import Update


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Both halves go into one file."""

    numbers: Mapping[str, Any]
    """JSON-ready."""
    tensors: Mapping[str, Tensor]
    """Those that are in use, not copies: to be written before the next update."""


def take(update: Update, device: torch.device, position: Mapping[str, Any]) -> Snapshot:
    """`position`: how far the training has come, JSON-ready; it comes back as it is.

    Raises: PluginError when the model's state holds something that is not a tensor.
    """
    random_numbers, random_tensors = random_states(device)
    numbers = {
        "position": dict(position),
        "applied": update.applied,
        "skipped": update.skipped,
        "random": random_numbers,
    }
    tensors = {
        **_under("model", _distinct(state_of(update.model))),
        **_under("average", update.average),
        **_under("optimizer", _moments(update)),
        **_under("random", random_tensors),
    }
    return Snapshot(numbers=numbers, tensors=tensors)


@torch.no_grad()
def restore(snapshot: Snapshot, update: Update, device: torch.device) -> None:
    """Into an update of a model of the same configuration; nothing is touched unless all of it fits.

    Raises: HarnessError
    """
    live = take(update, device, {}).tensors
    moments = _part(snapshot.tensors, "optimizer")
    expected = {name: value for name, value in live.items() if not name.startswith("optimizer/")}
    found = {name: value for name, value in snapshot.tensors.items() if not name.startswith("optimizer/")}
    if wrong := [*differences(expected, found), *_misfits(moments, update)]:
        raise HarnessError(f"it is of another training: {'; '.join(wrong[:4])}")
    for name, value in found.items():
        if not name.startswith("random/"):
            expected[name].copy_(value)
    _load_moments(moments, update)
    update.applied, update.skipped = snapshot.numbers["applied"], snapshot.numbers["skipped"]
    set_random_states(snapshot.numbers["random"], _part(snapshot.tensors, "random"), device)


def share(
    update: Update, device: torch.device, position: Mapping[str, Any], ranks: Ranks
) -> Mapping[str, Any]:
    """Every rank's update becomes as the first one's is; the position of that one.

    Raises: ExchangeFailed
    """
    own = take(update, device, position)
    sent = {name: value.detach().cpu() for name, value in own.tensors.items()} if ranks.is_first else {}
    state = ranks.from_first(Snapshot(numbers=own.numbers, tensors=sent))
    if not ranks.is_first:
        restore(state, update, device)
    found: Mapping[str, Any] = state.numbers["position"]
    return found


def _distinct(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under one name each, as weights may be shared."""
    first: dict[int, str] = {}
    for name, value in state.items():
        first.setdefault(id(value), name)
    return {name: value for name, value in state.items() if first[id(value)] == name}


def _moments(update: Update) -> dict[str, Tensor]:
    """`number of the parameter/name of the moment` -> value; none of what had no gradient yet."""
    return {
        f"{number}/{name}": value
        for number, entry in update.optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def _misfits(moments: Mapping[str, Tensor], update: Update) -> list[str]:
    shapes = dict(enumerate(parameter.shape for parameter in update.parameters))
    return [
        f"optimizer/{name} fits no parameter"
        for name, value in moments.items()
        if value.ndim and value.shape != shapes.get(int(name.partition("/")[0]))
    ]


def _load_moments(moments: Mapping[str, Tensor], update: Update) -> None:
    parameters = update.parameters
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in moments.items():
        number, _, name = path.partition("/")
        # In the layout of the parameter, as AdamW made it: its fused kernel walks both as one array.
        own = torch.empty_like(parameters[int(number)], dtype=value.dtype) if value.ndim else value
        state.setdefault(int(number), {})[name] = own.copy_(value) if value.ndim else own
    groups = update.optimizer.state_dict()["param_groups"]
    update.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _under(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{part}/{name}": value for name, value in tensors.items()}


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}/"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
