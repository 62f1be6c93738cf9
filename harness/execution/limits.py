"""How much memory a trial may hold: the machine's share, and the limit that makes it an error of its own.

Two nets, since neither catches all. On Linux a trial's process gets RLIMIT_DATA, so that an allocation
beyond it fails as a MemoryError at the line that asked for it; not RLIMIT_AS, which counts address space
that nobody uses. From outside its resident memory is watched, which also catches what the first net does
not count (shared memory), works on other systems, and is the only one with a GPU, whose driver
reserves more than any machine has.
"""

from __future__ import annotations

import sys
from pathlib import Path

GIB = 2**30

RESERVED = 0.1
"""Share of a machine's memory that is not given to trials: the driver, Ray, the file cache."""

SMALLEST_GIB = 0.5
"""A process that has torch loaded and computed nothing already needs most of it."""


def memory_limit(gib: float | None, share: float) -> int:
    """Bytes that a trial may hold on this machine: as asked for, else its share of what is not reserved."""
    if gib is not None:
        return int(gib * GIB)
    return int(machine_memory() * (1.0 - RESERVED) * share)


def machine_memory() -> int:
    """Bytes of main memory that processes here may use: a container's, where it has less than its host."""
    import psutil

    return min([psutil.virtual_memory().total, *_container_limits()])


def _container_limits() -> list[int]:
    """Limits of the control groups around this process, of either version."""
    found = []
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        inner = root / place.lstrip("/")
        for folder in (inner, *inner.parents):
            if not folder.is_relative_to(root):
                break
            try:
                found.append(int((folder / name).read_text(encoding="utf-8")))
            except (OSError, ValueError):  # no such group seen from inside a container, or "max"
                continue
    return found


def hold_this_process_to(limit: int) -> None:
    """From now on an allocation that would exceed `limit` bytes of private memory fails."""
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, most))


def lift_memory_limit() -> None:
    """After an allocation failed: what is left to do may have all that this process was allowed before."""
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def kernel_kills() -> int:
    """How often the kernel has killed a process of this machine for memory; 0 where it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text(encoding="utf-8").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
