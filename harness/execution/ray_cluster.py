"""Where Ray runs: a cluster of our own on this machine, or one that runs already.

Our own is a raylet and a control process below this one, in a folder that is removed at the end, with
every port on the loopback interface. It has one resource of our own, `harness_node`, one a node: a task of
the training lane takes a thousandth of it and one of the exclusive lane all, so that the scheduler itself
keeps the exclusive ones alone on their node. A cluster whose nodes do not offer it is asked for all the
CPUs of a node instead.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import ray

from harness.contracts import Lane
from harness.errors import HarnessError
from harness.execution.ray_folder import ray_folder, sweep

LOCAL = "local"

NODE = "harness_node"
NODE_SHARE = 0.001

OBJECT_STORE_BYTES = 100 * 2**20
"""No large object goes through Ray."""


class RayCluster:
    """A connection to Ray, from `start` to `stop`; may be started again."""

    def __init__(self, *, slots: int, threads: int, gpu: bool, address: str) -> None:
        self.slots, self.threads, self.gpu, self.address = slots, threads, gpu, address
        self._folder = ExitStack()
        self._processes: list[psutil.Process] = []

    def start(self) -> None:
        """Raises: HarnessError"""
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "configure_logging": True,
        }
        if self.address == LOCAL:
            sweep()
            options |= {
                "address": LOCAL,  # explicit: RAY_ADDRESS must not send a laptop's suite elsewhere
                "num_cpus": self.slots * self.threads,
                "resources": {NODE: 1},
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_temp_dir": self._folder.enter_context(ray_folder()),
            }
        else:
            options["address"] = self.address
        try:
            with _without_output():
                ray.init(**options)
            if self.address == LOCAL:
                self._processes = [
                    each
                    for each in psutil.Process().children()
                    if each.name().startswith(("raylet", "gcs_server"))
                ]
            self._check_resources()
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            self.stop()
            raise HarnessError(f"Ray does not start ({self.address}): {error}") from None
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        with _without_output():
            ray.shutdown()
        self._processes = []
        self._folder.close()

    def is_whole(self) -> bool:
        """Whether our own cluster's processes live; of another's, Ray itself has to tell."""
        return all(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in self._processes)

    def request(self, lane: Lane) -> dict[str, Any]:
        """What Ray shall keep for one task."""
        asked: dict[str, Any] = {"num_cpus": self.threads, "num_gpus": 1 if self.gpu else 0}
        if NODE in ray.cluster_resources():
            return {**asked, "resources": {NODE: 1.0 if lane == "exclusive" else NODE_SHARE}}
        if lane == "exclusive":
            asked["num_cpus"] = max(_cpus_by_node())
        return asked

    def places(self, lane: Lane) -> int:
        """How many tasks may run at once."""
        if lane == "training":
            return self.slots
        cpus = _cpus_by_node()
        return (
            max(int(ray.cluster_resources().get(NODE, 0)), 1)
            if NODE in ray.cluster_resources()
            else (cpus.count(max(cpus)))
        )

    def _check_resources(self) -> None:
        """A request that can never be met would wait for ever."""
        has = ray.cluster_resources()
        for name, amount in (("CPU", self.threads), ("GPU", 1 if self.gpu else 0)):
            if amount > has.get(name, 0):
                raise HarnessError(
                    f"a trial needs {amount} {name}, the Ray cluster has {has.get(name, 0):g} in all"
                )


def _cpus_by_node() -> list[float]:
    return [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    """Ray prints banners and tables of its own; our progress goes to stderr, its words nowhere."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # noqa: PTH123
        yield
