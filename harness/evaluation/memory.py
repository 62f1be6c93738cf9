"""How much memory a piece of work needs beyond what was in use before it."""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path
from types import TracebackType

import psutil
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from harness.heap import give_back_freed_memory

MIB = 2**20


class PeakMemory:
    """Context manager; afterwards `bytes` is the peak inside the block minus the level before it.

    `method` says how that was found:
        cuda_allocator: torch's caching allocator, exact.
        process_peak: the kernel's high-water mark of this process's resident memory, set back at
            the start (Linux). Pages that the allocator kept from earlier work are given back first.
        process_peak_ever: the same mark where it cannot be set back (other systems): too low when
            earlier work of this process needed more.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes = 0
        self.method = "cuda_allocator" if device.type == "cuda" else "process_peak"

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            give_back_freed_memory()
            self._before = psutil.Process().memory_info().rss
            if not _reset_process_peak():
                self.method = "process_peak_ever"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            peak = torch.cuda.max_memory_allocated(self.device)
        elif self.method == "process_peak":
            peak = _process_peak()
        else:
            peak = _process_peak_ever()
        self.bytes = max(0, peak - self._before)


class SavedForBackward(saved_tensors_hooks):
    """Context manager; `bytes` is what autograd keeps for the backward pass of the block.

    Each storage counts once, whole, however many views of it are kept; the module's own parameters
    and buffers are in memory anyway and do not count.
    """

    def __init__(self, module: nn.Module) -> None:
        own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
        self._storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                self._storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        super().__init__(pack, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        return sum(self._storages.values())


def _reset_process_peak() -> bool:
    """Whether the kernel lets this process set its high-water mark back to the present level."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _process_peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None  # present wherever clear_refs is
    return int(found.group(1)) * 1024


def _process_peak_ever() -> int:
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
