"""Tensors by name with a description beside them, as safetensors: no code in the file, whole or absent."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import HarnessError
from harness.store.atomic import replacing


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Replace the file by these tensors, from whatever device, and a JSON-ready description.

    Equal tensors and descriptions give equal files. Only what is not on the CPU, not contiguous or not
    alone in its storage is copied first.

    Raises: WriteError, as `replacing` does.
    """
    # The format has complex numbers only in its newest versions: stored as [..., (re, im)].
    complex_names = sorted(name for name, value in tensors.items() if value.is_complex())
    seen: set[int] = set()
    stored = {name: _storable(value, seen) for name, value in tensors.items()}
    # One entry, because the format does not keep the order of several: equal runs, equal files.
    description = json.loads(json.dumps({**about, "complex": complex_names}))  # as it will be read
    header = json.dumps({**description, "crc32": _checksum(description, stored)}, sort_keys=True)
    with replacing(path) as temporary:
        try:
            save_file(stored, temporary, metadata={"harness": header})
        except SafetensorError as error:
            raise _of_the_system(error) from error


def read_tensors(path: Path, *, weights: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description, and the tensors on the CPU (none without `weights`).

    Raises: HarnessError for a file that is missing, damaged or not of this harness.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["harness"])
            found = {name: file.get_tensor(name) for name in (file.keys() if weights else ())}
            # Files of the first version have no checksum.
            if (expected := about.pop("crc32", None)) is not None and weights:
                _verify(about, found, expected)
            complex_names = set(about.pop("complex"))
    except FileNotFoundError:
        raise HarnessError(f"{path}: no such checkpoint") from None
    except KeyError:
        raise HarnessError(f"{path}: is not a checkpoint of this harness") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise HarnessError(f"{path}: damaged checkpoint ({error}); run the trial again") from None
    return about, {
        name: torch.view_as_complex(value) if name in complex_names else value
        for name, value in found.items()
    }


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Of names, shapes and types, in words; nothing when the two agree."""
    missing = [f"{name} is missing" for name in expected if name not in found]
    unknown = [f"{name} is unknown" for name in found if name not in expected]
    differing = [
        f"{name} is {_kind(found[name])}, expected {_kind(expected[name])}"
        for name in expected
        if name in found and _kind(found[name]) != _kind(expected[name])
    ]
    return missing + unknown + differing


def _of_the_system(error: SafetensorError) -> Exception:
    """The operating system's complaint, of which the library leaves only the words."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else error


def _storable(tensor: Tensor, seen: set[int]) -> Tensor:
    """As real numbers on the CPU, contiguous, and in a storage that no earlier one was in."""
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    found = real.detach().cpu().contiguous()
    storage = found.untyped_storage()
    if storage.nbytes() != found.nbytes or storage.data_ptr() in seen:
        return found.clone()
    seen.add(storage.data_ptr())
    return found


def _verify(description: Mapping[str, Any], tensors: Mapping[str, Tensor], expected: int) -> None:
    if _checksum(description, tensors) != expected:
        raise ValueError("its checksum differs")


def _checksum(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """Of everything, tensors in the order of their names: the format itself sees no flipped bit."""
    found = zlib.crc32(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, found)
    return found


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
