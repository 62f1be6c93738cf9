"""`python -m benchmarks.data_memory`: what a set of tokens takes, by phase."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import data_memory

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")


def test_each_phase_is_a_row_and_nothing_is_left_behind(run, tmp_path, monkeypatch):
    for name, value in {"LENGTH": 400, "CROP": 200, "HELD_OUT": 1}.items():
        monkeypatch.setattr(data_memory, name, value)
    monkeypatch.setattr(data_memory.LargeSet, "length", 400)
    before = os.environ.get("HARNESS_CACHE")
    size = ("--gigabytes", "0.001", "--steps", "1", "--batch", "4")
    table, _ = run(data_memory.app, *size, "--folder", str(tmp_path))
    assert table["name"].tolist() == [
        *("train on 8 clips", "make", "open", "train on all", "an epoch of batches"),
    ]
    assert (table["status"] == "ok").all()
    epoch = table.set_index("name").loc["an epoch of batches"]
    assert epoch["tokens_read_mib"] == pytest.approx(2500 * 400 / 2**20)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    assert os.environ.get("HARNESS_CACHE") == before


def test_more_private_memory_than_the_limit_ends_the_process_that_takes_it():
    with data_memory.limited(50 * data_memory.MIB), pytest.raises(MemoryError):
        bytearray(200 * data_memory.MIB)
    bytearray(200 * data_memory.MIB)
