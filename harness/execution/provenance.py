"""With what a trial ran: code, packages, device, threads. No host name, no remote address."""

from __future__ import annotations

import importlib.metadata
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
        **git_state(),
    }


def command_line() -> str:
    """What the user typed, without the place of the program."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


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
    """Commit of the harness's own checkout and whether tracked files differ from it.

    Installed without a checkout: the version of the distribution instead of a commit.
    """
    home = Path(__file__).parents[2]
    if not (home / ".git").exists():
        from harness import __version__

        return {"git_commit": f"v{__version__}", "git_dirty": None}
    # A trial inherits the variables of the command that started it; a git hook's would mislead git.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(home), *arguments],
            capture_output=True, text=True, timeout=20, check=False, env=environment,
        )  # fmt: skip
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    # Results are not code: committing them must not make the next run look modified.
    dirty = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    return {"git_commit": commit or "unknown", "git_dirty": bool(dirty)}
