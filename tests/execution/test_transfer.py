"""The folder of a task that runs elsewhere: what it needs goes, what it leaves comes back, whole or not."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.execution import transfer
from harness.execution.run_trial import Task
from harness.execution.transfer import Away, Home
from harness.suite.trial import Trial

PIECE = 64
NAMES = ["checkpoint.safetensors", "history.csv", "record.json", "samples/1.flac", "samples/real/2.flac"]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(transfer, "PIECE", PIECE)


@pytest.fixture
def ends(tmp_path):
    """A task's folder at the driver and one elsewhere."""
    return tmp_path / "home", tmp_path / "away"


def home_of(folder, lane="training"):
    return Home(Task(trial=Trial("base", 0, {}), lane=lane, folder=str(folder)))


def talk(end, home):
    """Let a host's end speak to the driver's; the messages."""
    said, answer = [], None
    while True:
        try:
            said.append(end.send(answer))
        except StopIteration:
            return said
        answer = home.answer(said[-1])


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=3 * PIECE + 1), min_size=1))
def test_whatever_a_task_leaves_comes_back_in_small_messages_with_the_record_last(files):
    with tempfile.TemporaryDirectory() as folder:
        there, elsewhere = Path(folder) / "home", Path(folder) / "away"
        write(elsewhere, files)
        home = home_of(there)
        said = talk(Away(elsewhere).send_all(), home)
        home.close()
        assert files_of(there) == files
        sizes = [sum(len(data) for _, data, _ in message["files"]) for message in said]
        assert all(size <= PIECE for size in sizes)
        names = [name for message in said for name, _, _ in message["files"]]
        assert "record.json" not in names or names[-1] == "record.json"


@pytest.mark.parametrize("size", [0, PIECE - 1, PIECE, 2 * PIECE])
def test_what_a_lane_needs_goes_there_and_nothing_else(ends, size):
    there, elsewhere = ends
    files = {"checkpoint.safetensors": bytes(size), "record.json": b"{}", "samples/1.flac": b"sound"}
    write(there, files)
    home = home_of(there, "exclusive")
    talk(Away(elsewhere).fetch(home.invitation.needed), home)
    assert files_of(elsewhere) == {name: files[name] for name in ("checkpoint.safetensors", "record.json")}


def test_what_did_not_change_is_not_sent_again_and_what_is_gone_goes(ends):
    there, elsewhere = ends
    write(there, {"resume.safetensors": b"state", "log.txt": b"begun\n"})
    home, away = home_of(there), Away(elsewhere)
    talk(away.fetch(home.invitation.needed), home)
    assert talk(away.send_some(), home) == []
    write(elsewhere, {"resume.safetensors": b"later state"})
    assert talk(away.send_some(), home) == [{"files": [("resume.safetensors", b"later state", True)]}]
    (elsewhere / "resume.safetensors").unlink()
    write(elsewhere, {"record.json": b"{}"})
    assert talk(away.send_all(), home)[-1] == {"gone": ["resume.safetensors"]}
    home.close()
    assert files_of(there) == {"record.json": b"{}", "log.txt": b"begun\n"}


def test_half_a_file_leaves_what_was_there(ends):
    there, elsewhere = ends
    write(there, {"resume.safetensors": b"before"})
    write(elsewhere, {"resume.safetensors": bytes(3 * PIECE)})
    home = home_of(there)
    sending = Away(elsewhere).send_some()
    home.answer(next(sending))
    home.close()
    assert files_of(there) == {"resume.safetensors": b"before"}


def test_who_shares_the_disk_sees_the_invitation_and_nobody_else_does(ends):
    there, elsewhere = ends
    home = home_of(there)
    elsewhere.mkdir()
    assert home.invitation.is_seen(there) and not home.invitation.is_seen(elsewhere)
    home.close()
    assert not home.invitation.is_seen(there)


@pytest.mark.parametrize("name", ["/etc/passwd", "../other/record.json", "samples/../../x", ""])
def test_a_file_that_would_leave_the_folder_is_refused(ends, name):
    home = home_of(ends[0])
    for message in ({"files": [(name, b"", True)]}, {"gone": [name]}, {"wants": name, "at": 0}):
        with pytest.raises(HarnessError, match="refused"):
            home.answer(message)
