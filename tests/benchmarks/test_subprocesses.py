"""A measurement in a process of its own: its result, or how it ended."""

from __future__ import annotations

import os
import time

from benchmarks.subprocesses import run_apart

ROOMY = {"memory_limit_mib": 100_000.0, "time_limit": 100.0}


def answer(question):
    return {"status": "ok", "twice": 2 * question, "process": os.getpid()}


def hoard(mebibytes):
    kept = bytearray(mebibytes * 2**20)
    kept[::4096] = b"x" * len(kept[::4096])  # a page is not there before it is written
    time.sleep(30)
    return {"status": "ok"}


def sleep(seconds):
    time.sleep(seconds)
    return {"status": "ok"}


def die(code):
    os._exit(code)


def test_it_returns_what_the_function_returns_in_another_process():
    found = run_apart(answer, 21, **ROOMY)
    assert found["twice"] == 42 and found["process"] != os.getpid()


def test_it_is_ended_when_it_holds_too_much_memory():
    found = run_apart(hoard, 3000, memory_limit_mib=1500, time_limit=100.0)
    assert found["status"] == "out of memory limit" and "ended at" in found["note"]


def test_it_is_ended_when_its_time_is_up():
    found = run_apart(sleep, 30, memory_limit_mib=100_000.0, time_limit=0.5)
    assert found["status"] == "out of time limit"


def test_a_process_that_dies_is_a_row_that_says_so():
    assert run_apart(die, 3, **ROOMY) == {"status": "failed", "note": "the process ended with code 3"}
