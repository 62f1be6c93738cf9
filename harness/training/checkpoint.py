"""Evaluation weights on disk, as safetensors: no code in the file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.contracts import ClosedForm
from harness.errors import HarnessError, PluginError
from harness.store.atomic import replacing


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
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise PluginError(
                f"{type(model).__name__} keeps {name!r} ({type(value).__name__}) in its state; "
                "a checkpoint holds tensors only, make it a buffer"
            )
    about = {
        "config": dict(config),
        "step": step,
        # The format has complex numbers only in its newest versions: stored as [..., (re, im)].
        "complex": sorted(name for name, value in state.items() if value.is_complex()),
    }
    tensors = {name: _as_real(value).detach().cpu().clone().contiguous() for name, value in state.items()}
    with replacing(path) as temporary:
        # One entry, because the format does not keep the order of several: equal runs, equal files.
        save_file(tensors, temporary, metadata={"harness": json.dumps(about, sort_keys=True)})


def load_checkpoint(path: Path, model: nn.Module) -> CheckpointInfo:
    """Load into a model of the same configuration; names, shapes and types must agree exactly.

    Raises: HarnessError for a file that is missing, damaged, or of another model.
    """
    about, tensors = _read(path)
    complex_names = set(about["complex"])
    found = {
        name: torch.view_as_complex(value) if name in complex_names else value
        for name, value in tensors.items()
    }
    expected = model.state_dict()
    if isinstance(model, ClosedForm):  # its buffers grow with what was counted
        expected = {name: found.get(name, value) for name, value in expected.items()}
    if differences := _differences(expected, found):
        raise HarnessError(f"{path}: holds another model: {'; '.join(differences[:4])}")
    model.load_state_dict(found)
    return CheckpointInfo(config=about["config"], step=about["step"])


def read_info(path: Path) -> CheckpointInfo:
    """The description alone. Raises: HarnessError"""
    about, _ = _read(path, weights=False)
    return CheckpointInfo(config=about["config"], step=about["step"])


def _read(path: Path, weights: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["harness"])
            return about, {name: file.get_tensor(name) for name in (file.keys() if weights else ())}
    except FileNotFoundError:
        raise HarnessError(f"{path}: no such checkpoint") from None
    except KeyError:
        raise HarnessError(f"{path}: is not a checkpoint of this harness") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise HarnessError(f"{path}: damaged checkpoint ({error}); run the trial again") from None


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """In words, nothing when the two agree."""
    missing = [f"{name} is missing" for name in expected if name not in found]
    unknown = [f"{name} is unknown" for name in found if name not in expected]
    differing = [
        f"{name} is {_kind(found[name])}, expected {_kind(expected[name])}"
        for name in expected
        if name in found and _kind(found[name]) != _kind(expected[name])
    ]
    return missing + unknown + differing


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _as_real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
