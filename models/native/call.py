"""Calling a kernel with tensors."""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor

from harness.contracts import only_counted
from models.native.build import CannotBuild, library

log = logging.getLogger("harness")

DTYPES = (torch.float32, torch.float64)
MULTIPLE = 16
"""Widths whose rows are whole vectors are multiples of it: what the kernels of matrix.h take."""


def call(source: str, name: str, operands: tuple[Any, ...], *numbers: int) -> None:
    """Run a kernel, the one for the first operand's type, on as many threads as torch uses.

    Operands are tensors, whose memory is passed, None or ctypes structures; numbers are passed as
    64-bit integers. The tensors must be laid out as the kernel expects.
    Raises: CannotBuild
    """
    function = getattr(library(source), f"{name}_{str(operands[0].dtype).removeprefix('torch.')}")
    pointers = (
        ctypes.byref(x) if isinstance(x, ctypes.Structure) else ctypes.c_void_p(address(x)) for x in operands
    )
    function(*pointers, *map(ctypes.c_int64, numbers), ctypes.c_int64(torch.get_num_threads()))


def address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def fits(source: str, like: Tensor) -> bool:
    """Whether the kernels of a source can compute with such tensors here: on a CPU, in full precision.

    Not where work is only counted: nothing is compiled for that.
    """
    if only_counted(like):
        return False
    exact = like.device.type == "cpu" and like.dtype in DTYPES
    return exact and not torch.is_autocast_enabled("cpu") and reason_against(source) is None


@cache
def reason_against(source: str) -> str | None:
    """Why a source cannot be used on this machine; None if it can."""
    try:
        library(source)
    except CannotBuild as error:
        log.warning("without the kernel %s, which is slower: %s", source, error)
        return str(error)
    return None
