"""Results at a URL: they come and go whole, survive a lost machine, and what fails says what to do."""

import json
import threading
import uuid
from pathlib import Path

import fsspec
import pandas as pd
import pytest

import harness
from harness.errors import HarnessError
from harness.store import lease as leases
from harness.store import uplink
from harness.store.lease import LEASE, Lease
from harness.store.mirror import Mirror
from harness.store.place import _in_memory, fetched, published, working
from harness.store.record import Record, write_record
from harness.store.remote import Remote, RemoteError, is_url
from harness.store.wanted import everything, for_a_report, for_a_run, records

PLUGIN = Path(__file__).parents[1] / "execution" / "toy_plugin.py"
SUITE = f"""name: small
plugins: [{PLUGIN}]
base:
  model: {{name: tiny}}
  data: {{name: tiny_data}}
  train: {{steps: 3, batch_size: 2, warmup_steps: 0, validate_every: 2}}
vary: {{model.width: [8]}}
seeds: 2
measure: [nll, alone]
figures: []
"""
TRIAL = "trials/base-s0-0123456789ab"


@pytest.fixture
def url():
    """A store of its own in this process's memory."""
    found = f"memory://{uuid.uuid4().hex}/results"
    yield found
    fsspec.filesystem("memory").rm(found.removesuffix("/results"), recursive=True)


@pytest.fixture
def copies(url, tmp_path):
    """Copies of the store on two machines."""
    fsspec.filesystem("memory").pipe_file(f"{url}/suite.yaml", b"name: x\n")
    return Mirror(Remote(url), tmp_path / "a"), Mirror(Remote(url), tmp_path / "b")


def put(mirror, path, text):
    file = mirror.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def record(mirror, status="ok", lanes=("training", "exclusive"), **columns):
    path = mirror.folder / TRIAL / "record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(
        path,
        Record(key="0" * 64, variant="base", seed=0, config={}, status=status, lanes=lanes, columns=columns),
    )
    return path.read_text()


def test_what_one_machine_sends_another_fetches_and_only_what_it_wants(copies):
    a, b = copies
    for name in ("checkpoint.safetensors", "history.csv", "samples/000040.flac"):
        put(a, f"{TRIAL}/{name}", name)
    text = record(a)
    put(a, "plan.json", "{}")
    a.push()
    b.pull(records)
    assert (b.folder / TRIAL / "record.json").read_text() == text
    assert not (b.folder / TRIAL / "history.csv").exists()
    b.pull(for_a_report)
    assert {p.name for p in (b.folder / TRIAL).rglob("*")} == {"record.json", "history.csv"}
    b.pull(everything)
    assert (b.folder / TRIAL / "samples" / "000040.flac").read_text() == "samples/000040.flac"
    assert a.push() == b.push() == 0


def test_a_record_is_sent_last_and_not_at_all_where_a_file_before_it_fails(copies, monkeypatch):
    a, b = copies
    put(a, f"{TRIAL}/checkpoint.safetensors", "weights")
    record(a)
    sent = []

    def upload(source, path):
        sent.append(path)
        if path.endswith(".safetensors"):
            raise RemoteError("the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(a.remote, "upload", upload)
        with pytest.raises(RemoteError, match="the network is gone"):
            a.push()
    assert sent == [f"{TRIAL}/checkpoint.safetensors"]
    assert f"{TRIAL}/record.json" not in b.pull(everything)
    a.push()
    assert f"{TRIAL}/record.json" in b.pull(everything)


def test_while_a_run_works_ended_trials_go_and_of_others_what_they_continue_from(copies):
    a, b = copies
    put(a, f"{TRIAL}/resume.safetensors", "step 1")
    put(a, f"{TRIAL}/log.txt", "so far")
    a.push(ended_only=True)
    assert f"{TRIAL}/log.txt" not in b.pull(for_a_run)
    assert (b.folder / TRIAL / "resume.safetensors").read_text() == "step 1"
    (a.folder / TRIAL / "resume.safetensors").unlink()
    record(a)
    a.push(ended_only=True)
    there = b.pull(for_a_run)
    assert f"{TRIAL}/log.txt" in there and f"{TRIAL}/resume.safetensors" not in there
    assert not (b.folder / TRIAL / "resume.safetensors").exists()


def test_a_lost_copy_takes_nothing_out_of_the_store(copies):
    a, b = copies
    put(a, f"{TRIAL}/resume.safetensors", "step 1")
    a.push()
    (a.folder / TRIAL / "resume.safetensors").unlink()
    a.push()
    assert f"{TRIAL}/resume.safetensors" in b.pull(everything)


@pytest.mark.parametrize(
    ("ours", "theirs", "wins"),
    [
        ({"status": "ok"}, {"status": "failed", "lanes": ()}, "ours"),
        ({"status": "failed", "lanes": ()}, {"status": "ok"}, "theirs"),
        ({"status": "ok"}, {"status": "ok"}, "theirs"),
    ],
)
def test_of_two_runs_of_one_trial_the_further_counts_and_its_files_stay_together(copies, ours, theirs, wins):
    a, b = copies
    for mirror, who, said in ((a, "theirs", theirs), (b, "ours", ours)):
        put(mirror, f"{TRIAL}/checkpoint.safetensors", who)
        put(mirror, f"{TRIAL}/log.txt", who)
        record(mirror, **said, who=who)
    a.push()
    b.pull(records)
    b.pull(everything)
    b.push()
    a.pull(everything)
    for mirror in (a, b):
        folder = mirror.folder / TRIAL
        assert json.loads((folder / "record.json").read_text())["columns"] == {"who": wins}
        assert {(folder / name).read_text() for name in ("checkpoint.safetensors", "log.txt")} == {wins}


def test_what_somebody_removes_from_the_store_goes_here_but_not_when_all_is_gone(copies, url):
    a, b = copies
    record(a)
    put(a, "plan.json", "{}")
    a.push()
    b.pull(everything)
    fsspec.filesystem("memory").rm(f"{url}/trials", recursive=True)
    b.pull(everything)
    assert not (b.folder / TRIAL).exists()
    fsspec.filesystem("memory").rm(url, recursive=True)
    with pytest.raises(HarnessError, match="is empty, and held 2 files"):
        b.pull(everything)
    assert (b.folder / "plan.json").exists()
    fsspec.filesystem("memory").pipe_file(f"{url}/x", b"")


def test_a_suite_runs_at_a_url_and_another_machine_continues_it(toy_at_url, url):
    first = toy_at_url(url)
    assert list(first["status"]) == ["ok"] * 4
    assert LEASE not in Remote(url).entries()
    pd.testing.assert_frame_equal(first, toy_at_url(url))

    unsent = f"trials/{first['variant'][0]}-s{first['seed'][0]}-"
    for path in Remote(url).entries():
        if path.startswith(unsent):
            Remote(url).remove(path)
    _in_memory.pop(url).cleanup()  # as on another machine, without a copy
    again = toy_at_url(url)
    assert again["nll_bits_test"].tolist() == first["nll_bits_test"].tolist()
    kept = first.index > 0
    pd.testing.assert_frame_equal(again[kept], first[kept])
    assert any(path.startswith(unsent) and path.endswith("record.json") for path in Remote(url).entries())


@pytest.fixture
def toy_at_url(tmp_path):
    """Runs a suite of four small trials at a URL."""
    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE)
    return lambda url: harness.run_suite(suite, results=url, serial=True)


def test_a_store_that_is_cut_off_stops_nothing_and_gets_it_later(copies, url, monkeypatch):
    monkeypatch.setattr(uplink, "PAUSE_SECONDS", 0.0)
    said = []

    def fails(*_, **__):
        raise RemoteError("the network is gone")

    with monkeypatch.context() as patch, working(url, said.append) as place:
        (place.folder / "plan.json").write_text("{}")
        patch.setattr(Remote, "upload", fails)
    assert "the network is gone" in place.unsent and str(place.folder) in place.unsent
    assert said == [place.unsent]
    with working(url, said.append) as place:
        pass
    assert not place.unsent and Remote(url).read("plan.json") == b"{}"


def test_a_second_command_waits_for_the_lease_and_takes_over_one_without_a_sign(url, monkeypatch):
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(leases, "STALE_SECONDS", 0.3)
    remote, said = Remote(url), []
    with Lease(remote, "one").held(said.append) as first:
        assert first.is_mine()
        with Lease(remote, "two").held(said.append) as second:
            assert second.is_mine() and not first.is_mine()
            first.give_back()
            assert second.is_mine()
            second.give_back()
    assert len(said) == 1 and "another run (process" in said[0]
    assert remote.read(LEASE) is None


def test_the_lease_of_a_dead_command_of_this_copy_is_taken_at_once(url):
    remote = Remote(url)
    with Lease(remote, "same").held(print), Lease(remote, "same").held(pytest.fail) as second:
        assert second.is_mine()


def test_two_that_begin_at_once_do_not_both_have_the_lease(url):
    remote, begun = Remote(url), threading.Barrier(4)
    got = []

    def take():
        begun.wait()
        got.append(remote.create(LEASE, b"x"))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert True in got
    assert not remote.create(LEASE, b"y")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("s33://bucket/x", "did you mean 's3'"),
        ("memory://", "names no folder"),
        ("memory://nothing/here", "holds no plan.json"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_words(place, words):
    with pytest.raises(HarnessError, match=words):
        fetched(place, records)


def test_a_missing_driver_says_what_to_install(monkeypatch):
    def missing(*_):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(HarnessError, match=r"pip install 'longseq-harness\[s3\]'"):
        Remote("s3://bucket/x")


def test_a_file_url_is_the_folder_itself(tmp_path):
    assert fetched(f"file://{tmp_path}", records) == tmp_path
    published(f"file://{tmp_path}")
    assert is_url("s3://b/x") and not is_url("main:results") and not is_url(tmp_path)
