"""The same work on many things at once, where the work is waiting for a network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

HANDS = 16


def side_by_side(work: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """Results in the order of `things`. The first error, here or of the caller, ends it: what has begun ends.

    The threads are daemons: a program that wants to exit does not wait for a network that is gone, as it
    would with `concurrent.futures`.
    """
    results: list[Any] = [None] * len(things)
    errors: list[BaseException] = []
    left = iter(range(len(things)))
    taking = threading.Lock()
    ended = threading.Event()

    def take_one_after_another() -> None:
        while not ended.is_set():
            with taking:
                number = next(left, None)
            if number is None:
                return
            try:
                results[number] = work(things[number])
            except BaseException as error:
                errors.append(error)
                ended.set()

    hands = [
        threading.Thread(target=take_one_after_another, daemon=True) for _ in range(min(HANDS, len(things)))
    ]
    for hand in hands:
        hand.start()
    try:
        for hand in hands:
            hand.join()
    finally:
        ended.set()
    if errors:
        raise errors[0]
    return results
