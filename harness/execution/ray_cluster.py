"""Where Ray runs: a cluster of our own on this machine, or one that runs already.

Our own is a raylet and a control process below this one, in a folder that is removed at the end, with
every port on the loopback interface. It has one resource of our own, `harness_node`, one a node: a task of
the training lane takes a thousandth of it and one of the exclusive lane all, so that the scheduler itself
keeps the exclusive ones alone on their node. A cluster whose nodes do not offer it is asked for all the
CPUs of a node instead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness.contracts import Lane
from harness.errors import HarnessError
from harness.execution.ray_folder import ray_folder, sweep
from harness.execution.same_code import code_along
from harness.store.atomic import PART

if TYPE_CHECKING:
    from harness.execution.run_trial import Task

log = logging.getLogger("harness")

LOCAL = "local"

STARTS = 2
"""How often our own cluster is started: on a busy machine its processes may come too late for each other."""

NODE = "harness_node"
NODE_SHARE = 0.001

OBJECT_STORE_BYTES = 100 * 2**20
"""No large object goes through Ray."""


CLIENT_PORT = 10001
KNOCK_SECONDS = 10.0

CLIENT = "ray://"
"""How addresses begin that are spoken to through Ray's client, from outside of the cluster."""


class RayCluster:
    """A connection to Ray, from `start` to `stop`; may be started again.

    Args:
        slots: tasks of the training lane side by side; None: as many as a cluster that runs has room for.
    """

    def __init__(self, *, slots: int | None, threads: int, gpu: bool, workers: int = 1, address: str) -> None:
        self.slots, self.threads, self.gpu, self.address = slots or 0, threads, gpu, address
        self.workers = workers
        self._folder = ExitStack()
        self._processes: list[psutil.Process] = []
        """Without which there is no cluster."""
        self._helpers: list[psutil.Process] = []
        """What watches and tells; nothing of ours goes through them."""

    @property
    def is_own(self) -> bool:
        return self.address == LOCAL

    def start(self) -> None:
        """Raises: HarnessError"""
        left = STARTS if self.is_own else 1
        while True:
            left -= 1
            try:
                self._start()
                return
            except HarnessError:
                raise
            except Exception as error:  # a plain one, where a process of Ray's dies as it starts
                doing = "Ray does not start" if self.is_own else "the Ray cluster cannot be used"
                words = f"{doing} ({self.address}): {self._hint(error)}"
                if not left:
                    raise HarnessError(words) from None
                log.warning("%s; it is tried once more", words)

    def _start(self) -> None:
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "configure_logging": True,
        }
        try:
            if self.is_own:
                sweep()
                options |= {
                    "address": LOCAL,  # explicit: RAY_ADDRESS must not send a laptop's suite elsewhere
                    "num_cpus": self.slots * self.threads * self.workers,
                    "resources": {NODE: 1},
                    "include_dashboard": False,
                    "object_store_memory": OBJECT_STORE_BYTES,
                    "_temp_dir": self._folder.enter_context(ray_folder()),
                }
            else:
                options["address"] = self.address
                self._knock()
            ours = set(psutil.Process().children())
            with ExitStack() as while_it_starts:
                while_it_starts.enter_context(_without_output())
                if not self.is_own:
                    options |= while_it_starts.enter_context(code_along())
                ray.init(**options)
            for each in set(psutil.Process().children()) - ours if self.is_own else ():
                is_core = each.name().startswith(("raylet", "gcs_server"))
                (self._processes if is_core else self._helpers).append(each)
            self._check_resources()
            self.slots = self.slots or self._room()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        # All at once: Ray ends one after the other, and on a busy machine waits a second for each.
        for each in self._helpers:
            with contextlib.suppress(psutil.Error):
                each.terminate()
        with _without_output():
            ray.shutdown()
        self._processes, self._helpers = [], []
        self._folder.close()

    def is_whole(self) -> bool:
        """Whether our own cluster's processes live; of another's, Ray itself has to tell."""
        return all(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in self._processes)

    def request(self, lane: Lane) -> dict[str, Any]:
        """What Ray shall keep for one task."""
        cpus, gpus = self._needs(lane)
        asked: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus}
        if NODE in ray.cluster_resources():
            return {**asked, "resources": {NODE: 1.0 if lane == "exclusive" else NODE_SHARE}}
        if lane == "exclusive":
            asked["num_cpus"] = max(self._cpus_of_fitting_nodes())
        return asked

    def places(self, lane: Lane) -> int:
        """How many tasks may run at once."""
        if lane == "training":
            return self.slots
        if any(NODE in has for has in _nodes().values()):
            return max(sum(self._fitting(has, lane) for has in _nodes().values() if NODE in has), 1)
        cpus = self._cpus_of_fitting_nodes()
        return cpus.count(max(cpus))

    def fitted(self, task: Task, node_id: str) -> Task:
        """The task with the share of the node's memory that its place there has."""
        if task.lane == "exclusive" or self.is_own:
            return task
        side_by_side = self._fitting(_nodes().get(node_id, {}), task.lane)
        return replace(task, memory_share=1.0 / max(min(side_by_side, self.slots), 1))

    def check_searchable(self, folder: Path) -> None:
        """Whether Ray Tune can search here, with trials that work in a folder of this machine.

        Raises: HarnessError through Ray's client, or naming a node that does not see the folder.
        """
        if self.is_own:
            return
        if self.address.startswith(CLIENT):
            raise HarnessError(
                f"a search (tune:) is not run through {CLIENT}: start it on a machine of the cluster with "
                "--address auto, or leave it out with --skip-tuning (docs/cluster.md)"
            )
        with tempfile.NamedTemporaryFile(prefix=PART, dir=folder) as token:
            look: Any = ray.remote(_is_there)
            seen = {}
            for node in _nodes():
                on_it = NodeAffinitySchedulingStrategy(node, soft=False)
                seen[node] = look.options(num_cpus=0, scheduling_strategy=on_it).remote(token.name)
            for node, answer in seen.items():
                try:
                    there = ray.get(answer)
                except ray.exceptions.RayError:
                    if node in _nodes():
                        raise
                    continue  # it died a moment ago, and no trial will be on it
                if not there:
                    raise HarnessError(
                        f"node {node[:8]} of the Ray cluster does not see {folder}: a search (tune:) needs a "
                        "results folder on a disk that all nodes share (docs/cluster.md)"
                    )

    def _cpus_of_fitting_nodes(self) -> list[float]:
        """Of nodes that could hold a task of the exclusive lane."""
        return [has["CPU"] for has in _nodes().values() if self._fitting(has, "exclusive")]

    def _room(self) -> int:
        """Tasks of the training lane that the cluster's nodes can hold."""
        nodes = _nodes().values()
        offers_ours = any(NODE in has for has in nodes)
        return sum(self._fitting(has, "training") for has in nodes if NODE in has or not offers_ours)

    def _fitting(self, has: Mapping[str, float], lane: Lane) -> int:
        """Tasks that a node with these resources can hold at once."""
        cpus, gpus = self._needs(lane)
        fit = [int(has.get("CPU", 0) // cpus), *([int(has.get("GPU", 0) // gpus)] if gpus else [])]
        return min(fit) if lane == "training" else min(*fit, 1)

    def _needs(self, lane: Lane) -> tuple[int, int]:
        """CPUs and GPUs of a task, all of one node."""
        workers = self.workers if lane == "training" else 1
        return workers * self.threads, workers if self.gpu else 0

    def _check_resources(self) -> None:
        """A request that can never be met would wait for ever."""
        if self._room() > 0:
            return
        cpus, gpus = self._needs("training")
        needs = f"{cpus} CPU" + (f" and {gpus} GPU" if gpus else "")
        kinds = Counter(_in_words(has) for has in _nodes().values())
        offers = "; ".join(f"{count} with {words}" for words, count in kinds.items())
        raise HarnessError(f"a trial needs {needs} on one node; the Ray cluster's nodes: {offers}")

    def _knock(self) -> None:
        """Ray would try for minutes. Raises: HarnessError where nobody answers at the address."""
        place = urlsplit("//" + self.address.removeprefix(CLIENT))
        try:
            port = place.port or (CLIENT_PORT if self.address.startswith(CLIENT) else None)
            if place.hostname and port:
                socket.create_connection((place.hostname, port), timeout=KNOCK_SECONDS).close()
        except (OSError, ValueError) as error:
            raise HarnessError(
                f"no Ray cluster answers at {self.address}: {error}; --address is local, auto (on one of its "
                "machines), HOST:PORT of its head node, or ray://HOST:PORT from outside (docs/cluster.md)"
            ) from None

    def _hint(self, error: Exception) -> str:
        """What failed, in one line, and what to do."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        words = " ".join(dict.fromkeys([*lines[:1], *lines[-1:]]))  # between them is the server's traceback
        if isinstance(error, ImportError) and self.address.startswith(CLIENT):
            return f"{CLIENT} needs Ray's client: pip install 'ray[client]'; or run on the head node"
        return words


def _is_there(path: str) -> bool:
    return Path(path).exists()


def _nodes() -> dict[str, dict[str, float]]:
    """Resources of the nodes that live, by node."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def _in_words(has: Mapping[str, float]) -> str:
    parts = [f"{has.get(name, 0):g} {name}" for name in ("CPU", "GPU")]
    return ", ".join(parts) + ("" if NODE in has else f", no {NODE}")


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    """Ray prints banners and tables of its own; our progress goes to stderr, its words nowhere."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # noqa: PTH123
        yield
