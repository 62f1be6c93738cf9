"""Where results are, as a person writes it: a folder, or a URL whose files a folder on this machine copies.

Everything else in the harness works in folders. Commands that read call `fetched`, those that change trials
work inside `working`, and one that only writes a report calls `published` after it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.cache import cache_root
from harness.errors import HarnessError
from harness.store.atomic import write_text
from harness.store.lease import Lease, is_fresh, read_lease
from harness.store.lock import is_running, only_run
from harness.store.mirror import Mirror
from harness.store.record import read_record
from harness.store.remote import Remote, RemoteError, identity, is_url
from harness.store.uplink import Uplink
from harness.store.wanted import PLAN, RECORD, WEIGHTS, Wanted, for_a_run, trial_of

UNSENT = 4
"""Exit code of a command whose results are all on this machine, but not all in the store at its URL."""

SESSION = ".session"
"""Locked while a command of this machine works in the copy: what it holds is then newer than the store."""

SEEN_LEASE = ".lease.json"


@dataclass
class Workplace:
    """Where a command works; None for the folder that it chooses itself."""

    folder: Path | None
    hurry: bool = False
    """Set by a command that was interrupted: what is not sent within seconds is left for the next one."""
    unsent: str = ""
    """Once it is left: why not everything is in the store, in words."""


def fetched(place: str | Path, wanted: Wanted, *, must_exist: bool = True) -> Path:
    """A folder with what is `wanted` of a results folder, as it is now; of a URL, its copy here.

    Raises: HarnessError for a URL that cannot be used, or has no results where they `must_exist`.
    """
    folder = _folder_itself(place)
    if folder is not None:
        return folder
    mirror = _mirror_of(str(place))
    if is_running(mirror.folder, name=SESSION):
        return mirror.folder
    there = mirror.pull(wanted)
    if must_exist and PLAN not in there:
        raise HarnessError(f"{place}: holds no {PLAN}; is there a results folder of `harness run`?")
    if mirror.folder.exists():
        lease = read_lease(mirror.remote)
        write_text(mirror.folder / SEEN_LEASE, json.dumps(lease or {}) + "\n")
    return mirror.folder


@contextmanager
def working(
    place: str | Path | None, say: Callable[[str], None], wanted: Wanted = for_a_run
) -> Iterator[Workplace]:
    """A folder to change trials in; at a URL by one command at a time, and sent there as it grows.

    `say` is called, from other threads as well, with what a person should know. What could not be sent is
    no error of the block: `unsent` says it then.
    Raises: HarnessError for a URL that cannot be used; nothing has been done then.
    """
    folder = None if place is None else _folder_itself(place)
    if place is None or folder is not None:
        yield Workplace(folder)
        return
    mirror = _mirror_of(str(place))
    mirror.remote.entries()  # what is wrong with the place is said before anything is made here
    mirror.folder.mkdir(parents=True, exist_ok=True)
    with (
        only_run(
            mirror.folder, lambda: say(f"another run of this machine works in {place}; waiting"), name=SESSION
        ),
        Lease(mirror.remote, mirror.id).held(say) as lease,
    ):
        try:
            mirror.pull(wanted)
            _pull_weights_to_measure(mirror)
        except BaseException:
            with suppress(RemoteError):
                lease.give_back()
            raise
        uplink = Uplink(mirror, lease, say)
        workplace = Workplace(mirror.folder)
        try:
            yield workplace
        except BaseException:
            if unsent := uplink.close(hurry=True):
                say(unsent)
            raise
        workplace.unsent = uplink.close(hurry=workplace.hurry)
        if workplace.unsent:
            say(workplace.unsent)


def published(place: str | Path) -> None:
    """Send a report that was written into what `fetched` gave; nothing where that was the place itself.

    Raises: RemoteError, with exit code 4, where it cannot be sent.
    """
    if _folder_itself(place) is not None:
        return
    mirror = _mirror_of(str(place))
    try:
        mirror.push(reports_only=True)
    except RemoteError as error:
        unsent = RemoteError(f"{error}; the report is in {mirror.folder}")
        unsent.exit_code = UNSENT
        raise unsent from error


def works_in(folder: Path) -> bool:
    """Whether a run works in a folder, or in the store that it is a copy of, as far as was last seen."""
    if is_running(folder) or is_running(folder, name=SESSION):
        return True
    try:
        return is_fresh(json.loads((folder / SEEN_LEASE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def _folder_itself(place: str | Path) -> Path | None:
    """Of a folder, or a ``file://`` URL; None for other URLs."""
    if not is_url(place):
        return Path(place)
    text = str(place)
    return Path(text.removeprefix("file://")) if text.startswith("file://") else None


def _mirror_of(url: str) -> Mirror:
    return Mirror(Remote(url), _copy_of(url))


def _copy_of(url: str) -> Path:
    """The folder in the cache that copies a URL, the same each time."""
    if url.startswith("memory://"):  # ends with this process, and so does its copy
        if url not in _in_memory:
            _in_memory[url] = tempfile.TemporaryDirectory(prefix="harness-memory-")
        return Path(_in_memory[url].name) / "copy"
    digest = hashlib.sha256(identity(url).encode()).hexdigest()[:12]
    words = re.sub(r"[^A-Za-z0-9._]+", "-", url.partition("://")[2].rpartition("@")[2]).strip("-.")[-60:]
    return cache_root() / "stores" / f"{words}-{digest}"


_in_memory: dict[str, tempfile.TemporaryDirectory[str]] = {}


def _pull_weights_to_measure(mirror: Mirror) -> None:
    """Of trials that are trained and not measured: a run goes on with their weights."""
    halves = set()
    for path in (mirror.folder / "trials").glob(f"*/{RECORD}"):
        with suppress(HarnessError):  # a damaged one is run again
            record = read_record(path)
            if record.lanes and not record.finished:
                halves.add(f"trials/{path.parent.name}")
    if halves:
        mirror.pull(lambda path: trial_of(path) in halves and path.endswith(WEIGHTS))
