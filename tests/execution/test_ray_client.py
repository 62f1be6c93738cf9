"""A suite through Ray's client (`ray://`), from outside of the cluster: both lanes, losses, and a stop."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import harness
from harness.execution import ray_environment
from harness.execution.ray_folder import ray_folder

pytest.importorskip("grpc", reason="Ray's client needs it: pip install 'ray[client]'")
ray_environment.prepare(local=True)

from ray.cluster_utils import Cluster  # noqa: E402 (the environment comes first)

from harness.execution.ray_cluster import NODE  # noqa: E402

SUITE = """vary: {{model.width: [2, 8]}}
variants: {{actor: {{model: {{wrong: actor, once: {folder}/actor}}}}}}
seeds: 1
"""


@pytest.fixture(scope="module")
def address():
    """Of a cluster of one node, as its client server is reached."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ray_folder() as folder, pytest.MonkeyPatch.context() as patch:
        # It would tell everybody on this machine that "auto" is this cluster, and leave a file that says so.
        patch.setattr("ray._private.utils.write_ray_address", lambda *_: None)
        head = {
            "num_cpus": 2,
            "resources": {NODE: 1},
            "object_store_memory": 80 * 2**20,
            "include_dashboard": False,
            "temp_dir": folder,
            "ray_client_server_port": port,
        }
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            wait_for(lambda: answers(port), 60)
            yield f"ray://127.0.0.1:{port}"
        finally:
            cluster.shutdown()


@pytest.fixture
def command(address, tmp_path):
    def command(suite):
        file = tmp_path / "toy.yaml"
        file.write_text(suite)
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "harness", "run", str(file), "--results", str(tmp_path / "results")),
                *("--address", address, "--device", "cpu"),
            ],
            env={**os.environ, "HARNESS_CACHE": str(tmp_path / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return command


def test_a_suite_ends_in_both_lanes_though_an_actor_dies_meanwhile(command, suite_text, tmp_path):
    driver = command(suite_text(SUITE.format(folder=tmp_path)))
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, output
    table = harness.load_results(tmp_path / "results").set_index("variant")
    assert dict(table["status"]) == dict.fromkeys(["base", "width=2", "width=8", "actor"], "ok")
    assert table["alone_from"].notna().all() and table["nll_bits_test"].notna().all()


def test_a_stop_ends_within_ten_seconds_and_the_same_command_continues(command, suite_text, tmp_path):
    suite = suite_text("vary: {model.width: [2, 3]}\nseeds: 2")
    first = command(suite.replace("{name: tiny}", "{name: tiny, pause: 0.2}"))
    wait_for(lambda: first.poll() is not None or list(tmp_path.glob("results/trials/*/record.json")), 120)
    asked = time.monotonic()
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 143, output
    assert time.monotonic() - asked < 10
    assert "the same command continues" in output and "Traceback" not in output
    second = command(suite.replace("{name: tiny}", "{name: tiny, pause: 0.2}"))
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output


def answers(port):
    with socket.socket() as knocks:
        return knocks.connect_ex(("127.0.0.1", port)) == 0


def wait_for(holds, seconds):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
