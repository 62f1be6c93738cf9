"""Data larger than memory: reading all of it neither copies it nor lets it fill the process."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from harness.data import mapped, token_cache
from harness.training.batches import TrainingBatches

LENGTH = 16_000
CLIPS = 2_500  # 40 MB
MIB = 2**20

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells private from mapped memory"
)


def resident() -> dict[str, int]:
    """Bytes of private and of mapped memory."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return {kind: 1024 * int(kb) for kind, kb in re.findall(r"Rss(Anon|File):\s+(\d+) kB", text)}


@pytest.fixture
def split():
    row = np.arange(LENGTH, dtype=np.uint16).astype(np.uint8)

    def build(writer):
        for name, clips in (("train", CLIPS), ("validation", 1), ("test", 1)):
            for _ in range(clips):
                writer.add(name, row, LENGTH)
        return []

    return token_cache.open_or_build("large", {}, LENGTH, build).splits["train"]


def peaks(split) -> dict[str, float]:
    """MiB above the start while every clip is read once in batches, as training does."""
    batches = TrainingBatches(split, batch_size=10, crop=None, seed=0)
    batches[0]
    start, peak = resident(), resident()
    for number in range(CLIPS // 10):
        tokens, lengths = batches[number]
        assert int(lengths.sum()) == 10 * LENGTH and int(tokens[3, 300]) == 300 % 256
        peak = {kind: max(peak[kind], now) for kind, now in resident().items()}
    return {kind: (peak[kind] - start[kind]) / MIB for kind in peak}


def test_an_epoch_needs_next_to_no_memory_of_its_own_and_maps_no_more_than_the_budget(split, monkeypatch):
    monkeypatch.setattr(mapped, "BUDGET", 8 * MIB)
    found = peaks(split)
    assert found["Anon"] < 20  # a few batches as int64, and what the allocator keeps; the set is 38 MiB
    assert found["File"] < 12


def test_without_a_budget_the_mapped_pages_would_be_all(split, monkeypatch):
    """The test above can fail."""
    monkeypatch.setattr(mapped, "BUDGET", 10**12)
    assert peaks(split)["File"] > 30
