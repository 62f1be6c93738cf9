"""The Triton scans: their laws, under the interpreter and, where there is CUDA, compiled."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.scan.triton_support import available, tile_for, unavailable

LAWS = Path(__file__).with_name("triton_laws.py")
ROOT = Path(__file__).parents[2]


def python(*arguments: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command, environment = [sys.executable, *arguments], os.environ | environment
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_laws_hold_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    python("-m", "pytest", str(LAWS), TRITON_INTERPRET="1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_laws_hold_on_a_cuda_device() -> None:
    pytest.importorskip("triton")
    python("-m", "pytest", str(LAWS), TRITON_INTERPRET="0")


def test_without_triton_the_modules_load_and_say_what_is_missing() -> None:
    code = """
import sys
sys.modules["triton"] = None
from models.scan.triton_gated import triton_gated_scan
from models.scan.triton_scan import available, triton_linear_scan
from models.scan.triton_support import unavailable
print(available("cuda"), unavailable("cuda"))
"""
    assert python("-c", code).strip() == "False triton is not installed"


def test_a_cpu_is_no_place_for_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not available("cpu") and unavailable("cpu") == "it needs a CUDA device"


@pytest.mark.parametrize("channels", [1, 8, 64, 65, 500, 4096])
def test_every_thread_holds_two_channels_so_that_half_precision_fills_a_word(channels: int) -> None:
    tile = tile_for(channels, steps=4)
    assert tile.chunks * tile.channels == 2 * 128
    assert tile.channels & (tile.channels - 1) == 0


LINEAR = {"BACKWARDS": True, "COMPLEX": True}
GATED = {"NORMALIZE": True, "SERIES": (1 / 6, 1 / 2, 1.0), "TERMS": 3}
UNGATED = GATED | {"phase": None, "grad_phase": None, "recurrence_logits": None, "grad_recurrence": None}


@pytest.mark.parametrize(
    ("module", "name", "constants"),
    [
        ("triton_kernels", "linear_backward", LINEAR),
        ("triton_gated_kernels", "gated_forward", GATED),
        ("triton_gated_kernels", "gated_backward", GATED | {"SMALLEST_SCALE": 0.01}),
        ("triton_gated_kernels", "gated_backward", UNGATED | {"SMALLEST_SCALE": 0.01}),
    ],
)
def test_kernels_compile_for_a_gpu_that_is_not_there(
    module: str, name: str, constants: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter takes more than the compiler does. What they must not lose: loads that run ahead."""
    pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(importlib.import_module(f"models.scan.{module}"), name)
    constants = {"G": 16, "K": 2, "C": 16} | constants
    kinds, fixed, aligned = {}, {}, {}
    for k, argument in enumerate(kernel.arg_names):
        if argument in constants:
            kinds[argument], fixed[(k,)] = "constexpr", constants[argument]
        else:
            kinds[argument] = kind_of(argument)
            if argument != "length":
                aligned[(k,)] = [["tt.divisibility", 16]]
    source, options = ASTSource(kernel, kinds, fixed, aligned), {"num_warps": 4, "enable_fp_fusion": True}
    compiled = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert compiled.asm["cubin"]
    assert "cp.async" in compiled.asm["ptx"]


def kind_of(argument: str) -> str:
    if argument in ("length", "columns", "channels") or argument.endswith(("_batch", "_time")):
        return "i32"
    half = ("x", "recurrence", "recurrence_logits", "input", "input_logits")
    return "*bf16" if argument.removeprefix("grad_") in half else "*fp32"
