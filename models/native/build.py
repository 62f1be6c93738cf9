"""Builds the C++ kernels of this folder with the system's compiler on first use, and keeps them in the cache.

They are called through ctypes, so that no header and no ABI of torch's is involved.

The library's name is a hash of its source, the compiler, the flags and the processor, so that a
changed one is another file and a home folder shared by different machines is safe. It appears by
renaming, whole or not at all.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from harness.cache import cache_root

log = logging.getLogger("harness")

COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    *("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", "-fopenmp-simd"),
    # What vectorising square roots and comparisons needs of -ffast-math, which as a whole would
    # also switch off subnormal numbers in every library of the process.
    *("-fno-math-errno", "-fno-trapping-math"),
)
SECONDS = 120
FOLDER = Path(__file__).parent


class CannotBuild(Exception):
    """There is no native library here; the message says why."""


@cache
def library(name: str) -> ctypes.CDLL:
    """The shared library of a C++ source of this folder, built if need be.

    Raises: CannotBuild
    """
    source = FOLDER / f"{name}.cpp"
    compiler = _compiler()
    command = [compiler, *FLAGS, *_tuning()]
    sources = (source, *sorted(FOLDER.glob("*.h")))
    parts = (
        *(p.read_bytes() for p in sources),
        "\0".join(command).encode(),
        _version(compiler),
        _processor(),
    )
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    path = cache_root() / "kernels" / f"{name}-{key}.so"
    try:
        if not path.exists():
            _build(command, source, path)
        found = ctypes.CDLL(str(path))
    except OSError as error:
        raise CannotBuild(f"{path}: {error}") from None
    found.use_team(_team_of_torch())
    return found


@cache
def _team_of_torch() -> Any:
    """What starts the threads of torch's OpenMP library, whichever it is; None where torch has none."""
    ending = "dylib" if platform.system() == "Darwin" else "so"
    try:
        return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / f"libtorch_cpu.{ending}")).GOMP_parallel
    except (OSError, AttributeError):
        return None


def _build(command: list[str], source: Path, path: Path) -> None:
    log.info("building %s with %s (once on this machine)", source.name, command[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        try:
            done = subprocess.run(
                [*command, str(source), "-o", str(made)],
                capture_output=True, text=True, timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise CannotBuild(f"{command[0]} took more than {SECONDS} s") from None
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            raise CannotBuild(f"{command[0]} failed: {lines[0] if lines else done.returncode}")
        made.replace(path)


def _tuning() -> tuple[str, ...]:
    """Flags for this very processor. The first ones with AVX-512 slow down when its full width is used."""
    if platform.machine() in ("x86_64", "AMD64"):
        width = 512 if b"avx512_vbmi2" in _processor() else 256
        return "-march=native", f"-mprefer-vector-width={width}"
    return ("-mcpu=native",) if platform.machine() in ("arm64", "aarch64") else ()


def _compiler() -> str:
    chosen = os.environ.get("CXX")
    for name in (chosen,) if chosen else COMPILERS:
        found = shutil.which(name)
        if found:
            return found
    raise CannotBuild(f"no C++ compiler: neither {' nor '.join((chosen,) if chosen else COMPILERS)} is there")


def _version(compiler: str) -> bytes:
    return subprocess.run([compiler, "--version"], capture_output=True, check=False, timeout=SECONDS).stdout


def _processor() -> bytes:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor().encode()
    return "\n".join(
        sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    ).encode()
