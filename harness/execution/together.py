"""One trial trained by several processes on one machine: the trial's own, and those that it starts here.

They meet over the loopback interface. The others live as long as the trial's process trains: they end with
it, however that ends, and when one of them dies the training fails and says why.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _set_pg_timeout

from harness.errors import HarnessError
from harness.execution.limits import kernel_kills
from harness.training.ranks import ALONE, ExchangeFailed, Ranks, Together

if TYPE_CHECKING:
    from harness.execution.run_trial import Task

MEETING = timedelta(seconds=120)
"""How long processes that are ready wait for each other."""

FOREVER = timedelta(days=365)
"""How long one waits for another in training, which may validate or save. A death is noticed at once."""

STORY_SECONDS = 10.0
"""How long a process that is gone is waited for to say why."""

LOOPBACK = "127.0.0.1"

DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""What asks a whole group of processes to stop is for the trial's own, which saves first."""


@contextlib.contextmanager
def together(task: Task, device: torch.device) -> Iterator[Callable[[], Ranks]]:
    """Start the other processes of a task; call what this gives, once its model is built, to meet them.

    Raises, from inside the block as well: HarnessError for a device that this machine does not have or a
    process that failed, MemoryError where one ran out of memory.
    """
    if task.workers == 1:
        yield lambda: ALONE
        return
    if task.workers > (size := task.trial.config["train"]["batch_size"]):
        raise HarnessError(f"a batch of {size} cannot be shared by {task.workers} processes")
    with contextlib.ExitStack() as stack:
        partners = _Partners(task, device, stack)
        try:
            yield partners.meet
        except ExchangeFailed as failure:
            raise partners.story(failure) from failure


def device_of_rank(device: torch.device, rank: int) -> torch.device:
    """The GPUs from the first one's on, one each; the CPU is shared."""
    return device if device.type == "cpu" else torch.device(device.type, (device.index or 0) + rank)


def join(rank: int, count: int, device: torch.device, port: int, listening: int | None = None) -> None:
    """Make this process a rank of the default group; the first one has a socket that listens at `port`.

    Raises: RuntimeError where the others do not come
    """
    store = dist.TCPStore(
        LOOPBACK,
        port,
        is_master=listening is not None,
        timeout=MEETING,
        wait_for_workers=False,
        master_listen_fd=listening,
    )
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=rank,
        world_size=count,
        timeout=MEETING,
        device_id=device if device.type == "cuda" else None,
    )
    _set_pg_timeout(FOREVER, dist.group.WORLD)


class _Partners:
    """The other processes, as the trial's own sees them. What is to be undone goes on the stack."""

    def __init__(self, task: Task, device: torch.device, stack: contextlib.ExitStack) -> None:
        self.device, self.count, self.stack = device, task.workers, stack
        if device.type == "cuda":
            last = device_of_rank(device, task.workers - 1).index
            if last >= torch.cuda.device_count():
                has = torch.cuda.device_count()
                raise HarnessError(f"{task.workers} processes need as many GPUs, this machine has {has}")
        self.kills = kernel_kills()
        self.news: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
        self.gone = threading.Event()
        stack.enter_context(_loopback_only())
        self.listening = socket.create_server((LOOPBACK, 0))
        stack.callback(self.listening.close)
        folder = Path(task.folder)
        folder.mkdir(parents=True, exist_ok=True)
        log = stack.enter_context((folder / "log.txt").open("ab"))
        for rank in range(1, self.count):
            self._start(task, rank, log)

    def meet(self) -> Ranks:
        """Raises: ExchangeFailed"""
        for _ in range(1, self.count):
            rank, said = self.news.get()
            if "ready" not in said:
                self.news.put((rank, said))
                raise ExchangeFailed("a process failed before training began")
        device = device_of_rank(self.device, 0)
        port = self.listening.getsockname()[1]
        try:
            join(0, self.count, device, port, self.listening.detach())
        except RuntimeError as error:
            raise ExchangeFailed(str(error)) from error
        self.stack.callback(self._leave)
        return Together(device, self.gone.is_set)

    def story(self, failure: ExchangeFailed) -> Exception:
        """Why the others are gone, in words for the trial's record."""
        try:
            while True:
                rank, said = self.news.get(timeout=STORY_SECONDS)
                if "failed" in said or "ended" in said:
                    break
        except queue.Empty:
            return HarnessError(f"the processes of this trial lost each other: {failure}")
        who = f"process {rank + 1} of the {self.count} that trained this trial"
        if "failed" in said:
            words = f"{who}: {said['failed']}"
            return MemoryError(words) if said["out_of_memory"] else HarnessError(words)
        code = said["ended"]
        if code == -signal.SIGKILL and kernel_kills() > self.kills:
            return MemoryError(f"{who} was killed by the system, which ran out of memory")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return HarnessError(f"{who} {how}; see its log.txt")

    def _start(self, task: Task, rank: int, log: Any) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)  # a child inherits what is blocked
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "harness.execution.rank"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.stack.callback(_end, process)
        port = self.listening.getsockname()[1]
        order = {"task": task.payload(), "rank": rank, "port": port, "device": str(self.device)}
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is noticed below
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        threading.Thread(target=self._listen, args=(rank, process), daemon=True).start()

    def _listen(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):  # killed in the middle of a line
                self.news.put((rank, json.loads(line)))
        self.news.put((rank, {"ended": process.wait()}))
        self.gone.set()
        self._abort()

    def _leave(self) -> None:
        self._abort()
        dist.destroy_process_group()

    def _abort(self) -> None:
        """Whatever is under way: gloo sees that a connection is closed, NCCL would wait for ever."""
        group = dist.group.WORLD
        if self.device.type == "cuda" and group is not None:
            group.abort()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()


@contextlib.contextmanager
def _loopback_only() -> Iterator[None]:
    """What gloo and NCCL listen on, here and in processes started inside; and who meets NCCL's failures."""
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    settings = {
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",  # its watchdog would end the process without a word
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
