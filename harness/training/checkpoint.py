"""Evaluation weights on disk: what a trial leaves to be measured and drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from harness.contracts import ClosedForm
from harness.errors import HarnessError, PluginError
from harness.training.tensor_file import differences, read_tensors, write_tensors


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint says about itself."""

    config: Mapping[str, Any]
    """The trial's resolved configuration."""
    step: int


def save_checkpoint(path: Path, model: nn.Module, *, config: Mapping[str, Any], step: int) -> None:
    """Write every parameter and persistent buffer of the model as it is now.

    Raises: PluginError when the model's state holds something that is not a tensor.
    """
    write_tensors(path, state_of(model), {"config": dict(config), "step": step})


def load_checkpoint(path: Path, model: nn.Module) -> CheckpointInfo:
    """Load into a model of the same configuration; names, shapes and types must agree exactly.

    Raises: HarnessError for a file that is missing, damaged, or of another model.
    """
    about, found = read_tensors(path)
    expected = model.state_dict()
    if isinstance(model, ClosedForm):  # its buffers grow with what was counted
        expected = {name: found.get(name, value) for name, value in expected.items()}
    if wrong := differences(expected, found):
        raise HarnessError(f"{path}: holds another model: {'; '.join(wrong[:4])}")
    model.load_state_dict(found)
    return CheckpointInfo(config=about["config"], step=about["step"])


def read_info(path: Path) -> CheckpointInfo:
    """The description alone. Raises: HarnessError"""
    about, _ = read_tensors(path, weights=False)
    return CheckpointInfo(config=about["config"], step=about["step"])


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and persistent buffer by name, themselves and not copies.

    Raises: PluginError when the model's state holds something that is not a tensor.
    """
    state = model.state_dict(keep_vars=True)
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise PluginError(
                f"{type(model).__name__} keeps {name!r} ({type(value).__name__}) in its state; "
                "a checkpoint holds tensors only, make it a buffer"
            )
    return state
