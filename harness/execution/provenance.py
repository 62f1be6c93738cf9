"""With what a trial ran: code, packages, device, threads. No host name, no remote address."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ENVIRONMENT = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND", "KMP_AFFINITY", "MKL_CBWR"),
    *("CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "NVIDIA_TF32_OVERRIDE"),
    *(
        "PYTORCH_CUDA_ALLOC_CONF",
        "PYTORCH_ALLOC_CONF",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "TRITON_INTERPRET",
    ),
)
"""Variables that may change numbers or times."""

HOME = Path(__file__).parents[2]
"""The harness's checkout, or where it is installed."""

GIT_STATE = "git_state.json"
"""Beside code that was sent to another machine: what git says of it there where it came from."""

PACKAGES = ("torch", "torchaudio", "numpy", "pandas", "ray", "scipy", "mamba-ssm", "triton")


def describe(device: torch.device) -> dict[str, Any]:
    """JSON-ready provenance of this process."""
    import torch

    return {
        "device": device.type,
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "torch_version": torch.__version__,
        "python_version": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": package_versions(),
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "cpus": os.cpu_count(),
        **({"node": os.environ["HARNESS_NODE"]} if "HARNESS_NODE" in os.environ else {}),
        **git_state(),
    }


def command_line() -> str:
    """What the user typed, without the place of the program."""
    program = Path(sys.argv[0])
    words = ["python", "-m", program.parent.name] if program.name == "__main__.py" else [program.name]
    return shlex.join([*words, *sys.argv[1:]])


def device_name(device: torch.device) -> str:
    """The GPU's or the CPU's model."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_state() -> dict[str, Any]:
    """Commit of the harness's own checkout, and the digest of what differs from it (see `uncommitted`).

    Installed without a checkout: the version of the distribution instead of a commit.
    """
    if (HOME / GIT_STATE).is_file():
        return json.loads((HOME / GIT_STATE).read_text(encoding="utf-8"))
    if not (HOME / ".git").exists():
        from harness import __version__

        return {"git_commit": f"v{__version__}", "git_dirty": None}
    state = {"git_commit": _git("rev-parse", "HEAD").strip() or "unknown", "git_dirty": bool(uncommitted())}
    if uncommitted():
        state["git_diff_sha256"] = hashlib.sha256(uncommitted().encode()).hexdigest()
    return state


@cache
def uncommitted() -> str:
    """The patch from the commit to the tracked files as they are; empty where they are the same.

    Results are not code: committing them must not make the next run look modified.
    """
    return _git("diff", "HEAD", "--no-ext-diff", "--no-color", "--", ".", ":!results")


def _git(*arguments: str) -> str:
    """What git prints, or nothing where it fails."""
    if not (HOME / ".git").exists():
        return ""
    # A trial inherits the variables of the command that started it; a git hook's would mislead git.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(HOME), *arguments],
        capture_output=True, text=True, errors="replace", timeout=20, check=False, env=environment,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else ""
