"""The copy on this machine of a store at a URL: what is newer there comes, what is newer here goes.

A trial's folder is one thing: never a record of one run beside the weights of another. Its record comes
last and goes last, so that it is nowhere without what it speaks of. `.remote.json` keeps how each file was
when both sides last had the same (`known`), from which follows who has changed it since.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harness.errors import HarnessError
from harness.store.atomic import replacing
from harness.store.lease import LEASE
from harness.store.mirror_state import Known, MirrorState
from harness.store.record import read_record
from harness.store.remote import Entry, Remote
from harness.store.side_by_side import side_by_side
from harness.store.wanted import RECORD, RESUME, Wanted, goes_with_its_copy, trial_of

STATE, SYNC, SENDING = ".remote.json", ".sync", ".sending"

BATCH = 8
"""Trials after which a long transfer notes how far it is."""


class Mirror:
    """A results folder that is a copy of the one at a URL."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        self.remote = remote
        self.folder = folder

    @property
    def id(self) -> str:
        """Of this copy, as long as it is not removed."""
        with self._in_step() as state:
            return state.id

    def pull(self, wanted: Wanted) -> set[str]:
        """Fetch what is newer in the store, if it is wanted or an older version is here.

        Where a trial's folder has changed on both sides, the one here counts if its record is further, else
        the store's. Returns the paths that the store has.
        Raises: RemoteError; HarnessError where all is gone from a store that held something.
        """
        there = {path: entry for path, entry in self.remote.entries().items() if _is_shared(path)}
        if not there and not self.folder.exists():
            return set()
        with self._in_step() as state:
            if state.files and not there:
                raise HarnessError(
                    f"{self.remote.url}: is empty, and held {len(state.files)} files when last seen; "
                    f"if that is meant, remove {self.folder}, which has copies of them"
                )
            self._drop_what_is_gone(there, state.files)
            coming = [
                path
                for path in self._newer(there, state.files)
                if wanted(path) or (self.folder / path).exists()
            ]
            for batch in _batches(coming):
                for paths in _record_last(batch):
                    for path, came in zip(paths, side_by_side(self._fetch, paths), strict=True):
                        if came:
                            state.files[path] = Known.of(there[path], (self.folder / path).stat())
                state.save()
        return set(there)

    def push(self, *, ended_only: bool = False, reports_only: bool = False) -> int:
        """Send what is newer here; returns how many files went.

        ended_only: of trials, those with a new record, and of the others what they can be continued from.
        reports_only: nothing of trials.
        Raises: RemoteError
        """
        sent = 0
        with self._in_step() as state:
            for batch in _batches(self._going(state.files, ended_only=ended_only, reports_only=reports_only)):
                with self._frozen(batch) as frozen:
                    for paths in _record_last(list(frozen)):
                        went = side_by_side(self._send, [(path, frozen[path]) for path in paths])
                        state.files.update(zip(paths, went, strict=True))
                        sent += len(paths)
                state.save()
            over = [path for path in state.files if self._is_over(path)]
            side_by_side(self.remote.remove, over)
            for path in over:
                del state.files[path]
        return sent

    def _newer(self, there: Mapping[str, Entry], known: dict[str, Known]) -> list[str]:
        """Paths of which the store has what counts and this folder has not."""
        found = []
        for trial, paths in _by_trial(there).items():
            new = {path for path in paths if path not in known or known[path].tag != there[path].tag}
            if trial and new and self._has_changed_here(trial, known):
                if not self._theirs_counts(f"{trial}/{RECORD}", there):
                    continue
                shutil.rmtree(self.folder / trial)
                for path in paths:
                    known.pop(path, None)
            found += [path for path in paths if path in new or not (self.folder / path).exists()]
        return found

    def _has_changed_here(self, trial: str, known: Mapping[str, Known]) -> bool:
        return any(_changed(self.folder / path, known.get(path)) for path in _files(self.folder, trial))

    def _theirs_counts(self, record: str, there: Mapping[str, Entry]) -> bool:
        ours = _rank(self.folder / record)
        if ours == 0 or record not in there:
            return ours == 0
        with self._scratch() as theirs:
            return self.remote.download(record, theirs) and _rank(theirs) >= ours

    def _drop_what_is_gone(self, there: Mapping[str, Entry], known: dict[str, Known]) -> None:
        """Somebody has removed it from the store: it goes here too, unless it has changed since."""
        for path in [path for path in known if path not in there]:
            before, here = known.pop(path), self.folder / path
            if here.is_file() and not _changed(here, before):
                here.unlink()
                with suppress(OSError):  # not empty
                    here.parent.rmdir()

    def _fetch(self, path: str) -> bool:
        """False where it has gone since it was listed."""
        try:
            with replacing(self.folder / path) as part:
                if not self.remote.download(path, part):
                    raise _GoneError
        except _GoneError:
            return False
        return True

    def _going(self, known: Mapping[str, Known], *, ended_only: bool, reports_only: bool) -> Iterator[str]:
        """Paths of what is to be sent."""
        for trial, paths in _by_trial(_files(self.folder)).items():
            record, resume = f"{trial}/{RECORD}", f"{trial}/{RESUME}"
            new = [path for path in paths if _changed(self.folder / path, known.get(path))]
            if not trial or (not reports_only and (record in new or not ended_only)):
                yield from new
            elif not reports_only and resume in new:
                yield resume

    @contextmanager
    def _frozen(self, paths: Sequence[str]) -> Iterator[dict[str, Path]]:
        """Each file as it is now, whatever is put in its place meanwhile; those that have gone are left out.

        Records are frozen first: what is beside one then is all that it speaks of.
        """
        with ExitStack() as stack:
            frozen = {}
            for path in sorted(paths, key=lambda path: not path.endswith(f"/{RECORD}")):
                copy = stack.enter_context(self._scratch())
                with suppress(FileNotFoundError):
                    try:
                        os.link(self.folder / path, copy)
                    except FileNotFoundError:
                        raise
                    except OSError:  # a file system without hard links
                        shutil.copy2(self.folder / path, copy)
                    frozen[path] = copy
            yield frozen

    def _send(self, path_and_source: tuple[str, Path]) -> Known:
        path, source = path_and_source
        found = source.stat()
        self.remote.upload(source, path)
        return Known.of(self.remote.entry(path), found)

    def _is_over(self, path: str) -> bool:
        """Whether it was removed here by a command that was done with it."""
        if not goes_with_its_copy(path) or (self.folder / path).exists():
            return False
        # A training that has no result is continued from its file, wherever that is.
        return not path.endswith(f"/{RESUME}") or (self.folder / trial_of(path) / RECORD).is_file()

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        path = self.folder / SENDING / uuid.uuid4().hex
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def _in_step(self) -> Iterator[MirrorState]:
        """One process and thread at a time compares the two sides; what is known is kept, however it ends."""
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / SYNC):
            shutil.rmtree(self.folder / SENDING, ignore_errors=True)
            (self.folder / SENDING).mkdir()
            state = MirrorState.read(self.folder / STATE)
            try:
                yield state
            finally:
                state.save()
                shutil.rmtree(self.folder / SENDING, ignore_errors=True)


class _GoneError(Exception):
    """While it was to be fetched."""


def _files(folder: Path, below: str = "") -> list[str]:
    """Paths of what is shared, relative to the folder."""
    found = []
    for place, folders, names in os.walk(folder / below):
        folders[:] = [name for name in folders if not name.startswith(".")]
        start = Path(place).relative_to(folder)
        found += [(start / name).as_posix() for name in names if not name.startswith(".")]
    return sorted(path for path in found if _is_shared(path))


def _is_shared(path: str) -> bool:
    """Locks, parts and what this copy keeps for itself are not."""
    return path != LEASE and not any(part.startswith(".") for part in path.split("/"))


def _changed(path: Path, known: Known | None) -> bool:
    """False for a file that is not here."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return known is None or not known.is_still(found)


def _by_trial(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        found[trial_of(path)].append(path)
    return found


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    """Whole trials, several at a time; first what belongs to none."""
    trials = sorted(_by_trial(paths).items())
    for start in range(0, len(trials), BATCH):
        yield [path for _, paths in trials[start : start + BATCH] for path in paths]


def _record_last(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    last = [path for path in paths if path.endswith(f"/{RECORD}")]
    return [path for path in paths if path not in set(last)], last


def _rank(path: Path) -> int:
    """How far a trial is, by its record: none, failed, trained, finished."""
    try:
        record = read_record(path)
    except HarnessError:
        return 0
    if record.finished or record.status == "diverged":
        return 3
    return 2 if record.status == "ok" else 1
