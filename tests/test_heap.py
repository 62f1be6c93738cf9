"""What becomes of freed memory, seen by the kernel: in processes of their own, as it is set for good."""

from __future__ import annotations

import platform
import subprocess
import sys
from textwrap import dedent

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")

START = """
    import resource
    import psutil
    from harness.heap import give_back_freed_memory, keep_freed_memory

    MIB = 2**20

    def use(mib):
        block = bytearray(mib * MIB)  # as torch's: one call of malloc or calloc
        block[::4096] = b"x" * (mib * 256)

    def faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def resident():
        return psutil.Process().memory_info().rss / MIB
"""


def run(code: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", dedent(START) + dedent(code)], capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()]


def test_kept_memory_is_not_asked_for_again():
    again = """
        use(64)
        before = faults()
        use(64)
        print(faults() - before)
    """
    (given_back,) = run(again)
    (kept,) = run("assert keep_freed_memory()\n" + dedent(again))
    assert given_back >= 64 * 256  # every page of it
    assert kept < 64


def test_what_was_kept_is_given_back_when_asked_for():
    before, kept, after = run(
        """
        keep_freed_memory()
        print(resident())
        use(64)
        print(resident())
        give_back_freed_memory()
        print(resident())
        """
    )
    assert kept > before + 60
    assert after < before + 4


def test_another_c_library_is_left_as_it_is(monkeypatch):
    from harness import heap

    monkeypatch.setattr(heap, "_of_glibc", lambda name: None)
    assert not heap.keep_freed_memory()
    heap.give_back_freed_memory()
