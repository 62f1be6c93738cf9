"""Our own Ray cluster: on the loopback interface, tidy, and with a node that an exclusive task has alone."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from harness.errors import HarnessError
from harness.execution import ray_environment
from harness.execution.executor import Silence
from harness.execution.ray_folder import clear, ray_folder, sweep
from harness.execution.run_trial import Task
from harness.suite.trial import Trial

ray_environment.prepare(local=True)

from harness.execution.ray_cluster import NODE, STARTS, RayCluster  # noqa: E402 (the environment comes first)
from harness.execution.ray_driver import ATTEMPTS, FUTILE_STARTS, _Crew  # noqa: E402
from harness.execution.ray_host import Host  # noqa: E402


@pytest.fixture(scope="module")
def cluster():
    cluster = RayCluster(slots=2, threads=1, gpu=False, address="local")
    cluster.start()
    yield cluster
    cluster.stop()


def actor(cluster, lane):
    import ray

    return ray.remote(Host).options(**cluster.request(lane)).remote(1)


def is_ready(actor, seconds):
    import ray

    return bool(ray.wait([actor.ready.remote()], timeout=seconds)[0])


def test_an_exclusive_task_and_another_are_never_on_one_node_together(cluster):
    import ray

    assert cluster.places("exclusive") == 1 and cluster.places("training") == 2
    training = actor(cluster, "training")
    assert is_ready(training, 60)
    exclusive = actor(cluster, "exclusive")
    assert not is_ready(exclusive, 1.0)
    ray.kill(training)
    assert is_ready(exclusive, 60)
    another = actor(cluster, "training")
    assert not is_ready(another, 1.0)
    for each in (exclusive, another):
        ray.kill(each)


def test_nothing_listens_on_an_address_that_others_reach(cluster):
    listening = []
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile: one of the test before
            found = process.net_connections(kind="inet")
            listening += [each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN]
    assert len(listening) >= 4
    assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_all_that_only_watches_is_ended_at_once_and_before_ray_ends_the_rest(monkeypatch):
    helpers = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    cluster = RayCluster(slots=1, threads=1, gpu=False, address="local")
    cluster._helpers = [psutil.Process(each.pid) for each in helpers]
    ended = []
    monkeypatch.setattr("ray.shutdown", lambda: ended.extend(each.wait(10) for each in helpers))
    cluster.stop()
    assert ended == [-signal.SIGTERM] * 3
    cluster.stop()  # again, of those that are gone


def test_the_processes_that_only_watch_are_not_those_that_a_cluster_needs(cluster):
    needed = {each.name() for each in cluster._processes}
    assert len(needed) == len(cluster._processes) == 2 and all(name[:3] in {"ray", "gcs"} for name in needed)
    assert cluster._helpers
    keepers = [each for each in cluster._helpers if "harness.execution.ray_folder" in each.cmdline()]
    assert not keepers, "it has to outlive the driver"


def test_a_cluster_that_has_lost_a_process_of_its_own_says_so(cluster):
    assert cluster.is_whole()
    cluster._processes[0].kill()
    deadline = time.monotonic() + 10
    while cluster.is_whole():
        assert time.monotonic() < deadline


def test_whatever_ray_says_as_it_fails_to_start_is_one_message_and_leaves_no_folder(monkeypatch):
    started = []

    def dies(**options):
        started.append(options["_temp_dir"])
        raise Exception("The current node timed out during startup.")

    before = set(Path("/tmp").glob(f"hr-{os.getpid()}-*"))
    monkeypatch.setattr("ray.init", dies)
    monkeypatch.setattr("ray.shutdown", lambda: None)  # another test's cluster may run
    with pytest.raises(HarnessError, match=r"Ray does not start \(local\): The current node timed out"):
        RayCluster(slots=1, threads=1, gpu=False, address="local").start()
    assert len(set(started)) == STARTS == 2
    assert set(Path("/tmp").glob(f"hr-{os.getpid()}-*")) == before


def test_what_fails_to_start_once_is_started_again_and_the_reason_is_said(monkeypatch, caplog):
    started = []

    def dies_once(**options):
        started.append(options["_temp_dir"])
        if len(started) == 1:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", dies_once)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr(
        "ray.nodes", lambda: [{"NodeID": "n", "Alive": True, "Resources": {"CPU": 1, NODE: 1}}]
    )
    cluster = RayCluster(slots=1, threads=1, gpu=False, address="local")
    cluster.start()
    assert not Path(started[0]).exists() and Path(started[1]).exists()
    cluster.stop()
    assert not Path(started[1]).exists()
    assert [each.message for each in caplog.records] == [
        "Ray does not start (local): The current node timed out during startup.; it is tried once more"
    ]


def test_another_s_cluster_that_cannot_be_used_is_asked_once(monkeypatch):
    asked = []

    def refuses(**options):
        asked.append(options["address"])
        raise RuntimeError("Version mismatch")

    monkeypatch.setattr("ray.init", refuses)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr("harness.execution.ray_cluster.code_along", lambda: contextlib.nullcontext({}))
    with pytest.raises(HarnessError, match=r"the Ray cluster cannot be used \(auto\): Version mismatch"):
        RayCluster(slots=1, threads=1, gpu=False, address="auto").start()
    assert asked == ["auto"]


def test_folders_of_dead_drivers_are_swept_and_those_of_the_living_are_not():
    dead = Path(tempfile.mkdtemp(prefix="hr-999999999-", dir="/tmp"))
    with (dead / "log").open("w") as log:
        lingering = subprocess.Popen(["sleep", "60"], stdout=log)
    living = Path(tempfile.mkdtemp(prefix=f"hr-{os.getpid()}-", dir="/tmp"))
    handle = os.open(living, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with ray_folder() as own:
        sweep()
        assert not dead.exists() and not psutil.pid_exists(lingering.pid)
        assert living.exists() and Path(own).exists()
    assert not Path(own).exists()
    lingering.wait()
    os.close(handle)
    living.rmdir()


def test_who_lives_in_a_folder_ends_with_it():
    with ray_folder() as folder:
        with (Path(folder) / "log").open("w") as log:
            lingering = subprocess.Popen(["sleep", "60"], stdout=log)
        assert lingering.poll() is None
    assert not Path(folder).exists() and not psutil.pid_exists(lingering.pid)
    lingering.wait()


def test_who_is_only_starting_in_the_folder_of_a_dead_driver_is_ended_as_well():
    dead = Path(tempfile.mkdtemp(prefix="hr-999999998-", dir="/tmp"))
    wait = "import time; time.sleep(60)"
    starting = subprocess.Popen(
        [sys.executable, "-c", wait, "/site-packages/ray/agent.py", f"--temp-dir={dead}"]
    )
    stranger = subprocess.Popen([sys.executable, "-c", wait, f"{dead}"])
    clear(dead)
    assert not psutil.pid_exists(starting.pid) and stranger.poll() is None
    assert not dead.exists()
    stranger.kill()
    for process in (starting, stranger):
        process.wait()


def test_what_machines_lose_again_and_again_becomes_a_row(tmp_path):
    trial = Trial("base", 0, {"model": {"name": "tiny"}})
    task = Task(trial=trial, lane="training", folder=str(tmp_path))
    ended = []
    events = SimpleNamespace(
        started=lambda _: None, progress=lambda *_: None, ended=lambda task, record: ended.append(record)
    )
    cluster = SimpleNamespace(places=lambda lane: 1, is_own=True, fitted=lambda task, node_id: task)
    crew = _Crew(cluster, [task], events, lambda: False)
    actor = SimpleNamespace(begin=SimpleNamespace(remote=lambda *_: None))
    for number in range(ATTEMPTS):
        assert not ended
        assert crew.draw(f"trial-{number}") == {"task": tmp_path.name}
        crew.begin(f"trial-{number}", actor)
        crew.lost(f"trial-{number}", ConnectionError("the node is gone"))
    assert ended[0].status == "failed"
    assert ended[0].error == "lost 3 times: ConnectionError: the node is gone"
    assert crew.draw("one more") == "FINISHED"


def test_what_never_began_costs_a_task_no_attempt_and_ends_the_run_at_last(tmp_path):
    trial = Trial("base", 0, {"model": {"name": "tiny"}})
    task = Task(trial=trial, lane="training", folder=str(tmp_path))
    crew = _Crew(SimpleNamespace(places=lambda lane: 1), [task], Silence(), lambda: False)
    for number in range(FUTILE_STARTS - 1):
        crew.draw(f"trial-{number}")
        crew.lost(f"trial-{number}", ConnectionError("no room"))
        assert crew.waiting[0].attempt == 1
    crew.draw("last")
    with pytest.raises(HarnessError, match="no worker can be started: ConnectionError: no room"):
        crew.lost("last", ConnectionError("no room"))
