"""One run a store, one process a trial; the dead hold nothing."""

import subprocess
import sys
import textwrap
import time

import pytest

from harness.execution.run_state import who_runs
from harness.store.lock import is_running, only_one_at_a_time, only_run


@pytest.fixture
def holder():
    """Starts a process that holds a lock until it is killed."""
    started = []

    def hold(code):
        text = f"{textwrap.dedent(code)}\n    print('held', flush=True)\n    import time; time.sleep(60)\n"
        process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_run_says_once_that_it_waits_and_goes_on_when_the_first_is_dead(tmp_path, holder):
    first = holder(f"""
        from pathlib import Path
        from harness.store.lock import only_run
        with only_run(Path({str(tmp_path)!r}), print):""")
    assert is_running(tmp_path)
    said = []

    def on_wait():
        said.append(who_runs(tmp_path))
        first.kill()
        first.wait()

    with only_run(tmp_path, on_wait) as waited:
        assert waited
        assert is_running(tmp_path)
    assert len(said) == 1 and str(tmp_path) in said[0]
    assert not is_running(tmp_path)
    with only_run(tmp_path, on_wait) as waited:
        assert not waited


def test_two_processes_do_not_work_in_one_trial_and_leave_no_file(tmp_path, holder):
    other = holder(f"""
        from pathlib import Path
        from harness.store.lock import only_one_at_a_time
        with only_one_at_a_time(Path({str(tmp_path)!r})):""")
    started = time.monotonic()
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {other.pid}"])
    with only_one_at_a_time(tmp_path):
        assert time.monotonic() - started > 0.4
    killer.wait()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_no_run_has_seen_is_not_running_and_gets_no_file(tmp_path):
    assert not is_running(tmp_path)
    assert list(tmp_path.iterdir()) == []
