"""A disk that is full or cannot be written to: a clear error, and no half file is ever read back."""

import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.store.atomic import PART, WriteError, remove_leftovers, replacing, write_text


@pytest.fixture
def small_files():
    """Inside, no file may grow beyond 64 KiB: what a full disk does to whoever writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, previous)


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 1 MB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_file_that_does_not_fit_is_an_error_and_the_old_one_stays(tmp_path, small_files):
    write_text(tmp_path / "record.json", "old")
    with pytest.raises(WriteError, match=r"record\.json: cannot be written: File too large"):
        write_text(tmp_path / "record.json", "x" * 2**20)
    assert (tmp_path / "record.json").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_a_full_disk_is_an_error_that_says_what_to_do(full_disk):
    write_text(full_disk / "record.json", "old")
    with pytest.raises(HarnessError, match="No space left on device; make room") as caught:
        write_text(full_disk / "record.json", "x" * 2**21)
    assert isinstance(caught.value, OSError)
    assert (full_disk / "record.json").read_text() == "old"
    assert [file.name for file in full_disk.iterdir()] == ["record.json"]


def test_a_store_on_another_file_system_is_written_within_that(full_disk, tmp_path):
    assert full_disk.stat().st_dev != tmp_path.stat().st_dev
    write_text(full_disk / "trials" / "record.json", "whole")
    assert (full_disk / "trials" / "record.json").read_text() == "whole"


def test_an_error_of_the_writer_itself_is_not_taken_for_one_of_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        Path(tmp_path / "nowhere").read_text()


def test_what_a_killed_process_had_begun_is_removed_and_nothing_else(tmp_path):
    (tmp_path / f"{PART}record.json-x1.json").write_text('{"half":')
    (tmp_path / ".lock").touch()
    remove_leftovers(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]
