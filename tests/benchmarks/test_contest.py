"""How candidates take turns, and what becomes of their times."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from benchmarks import contest
from benchmarks.contest import Budget, Entry, compete, results, takes_part

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when a candidate says so: work returns its seconds."""
    monkeypatch.setattr(contest, "repeat", lambda work, **options: np.array([work()]))


def entry(name, seconds, **options):
    return Entry(name, {"what": "test"}, work=lambda: seconds, **options)


def test_every_candidate_has_a_turn_in_every_round_before_any_has_its_next(clock):
    order = []

    def work(name):
        return lambda: order.append(name) or 0.001

    entries = [Entry(name, {}, work=work(name)) for name in "abc"]
    compete(entries, Budget(repetitions=5, seconds=1.0), CPU, "")
    rounds = order[6:]  # after two warm-up calls of each
    assert [sorted(rounds[i : i + 3]) for i in range(0, 15, 3)] == [["a", "b", "c"]] * 5
    assert [len(each.seconds) for each in entries] == [5, 5, 5]
    assert len({tuple(rounds[i : i + 3]) for i in range(0, 15, 3)}) > 1


def test_a_slow_candidate_takes_part_in_fewer_rounds_spread_over_all(clock):
    entries = [entry(f"{seconds} s", seconds) for seconds in (0.01, 0.25, 2.9, 60.0)]
    compete(entries, Budget(repetitions=20, seconds=1.0), CPU, "")
    assert [len(each.seconds) for each in entries] == [20, 4, 3, 1]


@pytest.mark.parametrize(("expected", "calls"), [(None, 4), (0.5, 4), (2.0, 3)])
def test_who_is_known_to_be_slow_is_not_warmed_up(clock, expected, calls):
    made = []
    known = Entry("x", {}, work=lambda: made.append(1) or 2.0, expected_seconds=expected)
    compete([known], Budget(repetitions=3, seconds=1.0), CPU, "")
    assert len(known.seconds) == 3 and len(made) == calls


def test_work_that_follows_itself_settles_before_each_time() -> None:
    calls: list[int] = []
    entry = Entry("x", {}, work=lambda: calls.append(1))
    compete([entry], Budget(repetitions=4, seconds=1.0, settling=2), CPU, "")
    assert len(entry.seconds) == 4 and len(calls) == 2 + 4 * 3  # two to know how long it takes


@pytest.mark.parametrize(("turns", "rounds"), [(3, 20), (20, 20), (7, 20), (1, 5)])
def test_turns_are_spread_evenly(turns, rounds):
    numbers = [number for number in range(rounds) if takes_part(number, turns, rounds)]
    assert len(numbers) == turns
    assert np.ptp(np.diff(numbers)) <= 1 if turns > 2 else True


def test_garbage_is_not_collected_while_the_clock_runs():
    enabled = []
    compete([Entry("x", {}, work=lambda: enabled.append(gc.isenabled()))], Budget(repetitions=3), CPU, "")
    assert enabled[-3:] == [False] * 3
    assert gc.isenabled()


def test_a_row_has_median_quartiles_and_the_ratio_to_ours():
    ours, theirs = entry("ours", 0, ours=True), entry("theirs", 0)
    ours.seconds, theirs.seconds = np.array([0.001, 0.002, 0.003]), np.array([0.008, 0.010, 0.016, 0.004])
    rows = {row["name"]: row for row in results([ours, theirs])}
    assert rows["ours"]["ratio_to_ours"] == 1
    assert rows["theirs"]["median_ms"] == pytest.approx(9.0)
    assert rows["theirs"]["iqr_ms"] == pytest.approx(1e3 * (0.0115 - 0.007))
    assert rows["theirs"]["min_ms"] == pytest.approx(4.0)
    assert rows["theirs"]["ratio_to_ours"] == pytest.approx(4.5)


def test_throughput_is_bytes_over_the_median_and_its_share_is_of_the_copy():
    copy = entry("memory copy", 0, status="ceiling", bytes_moved=4e9)
    scan = entry("scan", 0, bytes_moved=3e9)
    copy.seconds, scan.seconds = np.array([0.5]), np.array([1.5])
    rows = results([copy, scan])
    assert rows[0]["gb_per_s"] == pytest.approx(8.0)
    assert rows[1]["gb_per_s"] == pytest.approx(2.0)
    assert rows[1]["share_of_ceiling"] == pytest.approx(0.25)
    assert [row["ceiling_gb_per_s"] for row in rows] == [pytest.approx(8.0)] * 2
    assert "ratio_to_ours" not in rows[0]


def test_a_candidate_that_fails_is_a_row_that_says_so_and_stops_nobody():
    calls = []

    def breaks():
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("no more memory\nsecond line")

    broken, sound = Entry("broken", {}, work=breaks), Entry("sound", {}, work=lambda: None)
    compete([broken, sound], Budget(repetitions=5), CPU, "")
    row, other = results([broken, sound])
    assert (row["status"], row["note"]) == ("failed", "RuntimeError: no more memory")
    assert "median_ms" not in row and other["repetitions"] == 5


def test_who_was_given_up_is_never_run():
    given_up = entry("x", 0.1)
    given_up.give_up("missing", "not installed")
    compete([given_up], Budget(), CPU, "")
    (row,) = results([given_up])
    assert (row["status"], row["note"]) == ("missing", "not installed")
    assert "median_ms" not in row
