"""Who works in a store at a URL: `lock.json`, renewed while a command works, left alone once it is stale.

An object store has no lock. What this gives: two commands that begin at once do not both go on where the
store can create an object only if there is none (S3, Google Cloud Storage, `memory://`); elsewhere, and
where a machine was cut off for longer than a lease lasts, the one that has lost it notices when it next
looks, and sends nothing more.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from harness.store.remote import Remote, RemoteError

LEASE = "lock.json"

RENEW_SECONDS = 30.0
STALE_SECONDS = 180.0
"""A lease that has not changed for so long, by the clock of whoever waits, is that of a dead run."""

LOOK_SECONDS = 5.0


class Lease:
    """Held by one command at a time.

    Args:
        mirror: which local copy of the store the command works in. A lease of the same copy on the same
            machine is that of a dead command, whoever takes this one having the copy for itself.
    """

    def __init__(self, remote: Remote, mirror: str) -> None:
        self.remote = remote
        self.mirror = mirror
        self.id = uuid.uuid4().hex
        self.since = datetime.now(UTC).isoformat(timespec="seconds")
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew_now_and_then, name="harness-lease", daemon=True)

    @contextmanager
    def held(self, say: Callable[[str], None]) -> Iterator[Lease]:
        """Wait for it, saying so once; renew it until the block ends, then give it back.

        Raises: RemoteError where the store cannot be reached.
        """
        self._acquire(say)
        self._renewing.start()
        try:
            yield self
        finally:
            self._over.set()

    def is_mine(self) -> bool:
        """Looked up in the store. Raises: RemoteError"""
        return (read_lease(self.remote) or {}).get("id") == self.id

    def give_back(self) -> None:
        """Raises: RemoteError, and then it goes stale by itself."""
        self._over.set()
        self._renewing.join(RENEW_SECONDS)
        if self.is_mine():
            self.remote.remove(LEASE)

    def _acquire(self, say: Callable[[str], None]) -> None:
        seen, seen_at, said = None, 0.0, False
        while True:
            found = read_lease(self.remote)
            if found is None:
                # Read again: where a store overwrites, the last of two has it.
                if self.remote.create(LEASE, self._text()) and self.is_mine():
                    return
                continue
            if self._is_of_a_dead_one_here(found):
                self.remote.remove(LEASE)
                continue
            if found != seen:
                seen, seen_at = found, time.monotonic()
            elif time.monotonic() - seen_at > STALE_SECONDS:
                self.remote.remove(LEASE)
                continue
            if not said:
                say(
                    f"another run{who(found)} works in {self.remote.url}; waiting for it to end, or for "
                    f"{STALE_SECONDS / 60:.0f} minutes without a sign of it"
                )
                said = True
            time.sleep(LOOK_SECONDS)

    def _is_of_a_dead_one_here(self, found: dict[str, Any]) -> bool:
        return (found.get("host"), found.get("mirror")) == (socket.gethostname(), self.mirror)

    def _renew_now_and_then(self) -> None:
        while not self._over.wait(RENEW_SECONDS):
            with suppress(RemoteError):  # whoever sends results says that the store cannot be reached
                found = read_lease(self.remote)
                if found is None:
                    self.remote.create(LEASE, self._text())
                elif found.get("id") != self.id:
                    return
                elif not self._over.is_set():
                    self.remote.write(LEASE, self._text())

    def _text(self) -> bytes:
        about = {
            "id": self.id,
            "mirror": self.mirror,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": self.since,
            "renewed": time.time(),
        }
        return (json.dumps(about, indent=1) + "\n").encode()


def read_lease(remote: Remote) -> dict[str, Any] | None:
    """What `lock.json` says; empty where it is not to be understood, None where there is none."""
    data = remote.read(LEASE)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"unreadable": data.decode(errors="replace")}


def is_fresh(lease: dict[str, Any]) -> bool:
    """By this machine's clock: for who only wants to know, not for who wants to have it."""
    renewed = lease.get("renewed")
    return isinstance(renewed, int | float) and time.time() - renewed < STALE_SECONDS


def who(lease: dict[str, Any]) -> str:
    """`` (process 12 on there, since …)``"""
    if not {"pid", "host", "since"} <= set(lease):
        return ""
    return f" (process {lease['pid']} on {lease['host']}, since {lease['since']})"
