"""One file from an address: continued where it broke, checked, and only then there under its name.

What has arrived lies in ``<name>.part`` with ``<name>.part.json`` beside it, which says of what it is a
part. A later call asks for the rest (HTTP Range, RFC 9110 section 14) on the condition that the file
is still the same (If-Range), so that two versions are never glued together.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.progress import progress
from harness.errors import DataError

if TYPE_CHECKING:
    import requests

CHUNK = 2**16
"""Bytes; of what has arrived as much is lost when the connection breaks."""
TIMEOUT = (20.0, 60.0)
"""Seconds to connect, and without a byte."""
TRIES = 4
"""Attempts in a row that bring nothing new, until we give up."""
PAUSE = 1.0
"""Seconds after the first vain attempt; twice as long after each further one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that can be downloaded."""

    addresses: Sequence[str]
    """Tried in this order until one is there (a file may have been renamed)."""
    what: str
    """As a person calls it, in messages."""
    sha256: str | None = None
    """None where it is not known beforehand; what the server states is compared then."""
    token: str | None = None
    """Of the person who asks; goes to the addresses' own host alone, not to where it redirects."""
    refused: str = ""
    """What to do when the server wants to know who asks (401, 403)."""
    otherwise: str = ""
    """How else to come by the data."""


@dataclass(frozen=True)
class _Part:
    """What the beginning of a file in ``.part`` belongs to."""

    address: str
    total: int | None = None
    tag: str | None = None
    sha256: str | None = None


class _Broken(Exception):
    """The connection ended early; trying again may help."""


def fetch(source: Source, target: Path) -> str:
    """Download to `target` (in an existing folder) and return the sha256 of what came.

    Raises: DataError when it cannot be had or is not what it should be; `target` is not there then.
    What has arrived is kept for the next call unless it is wrong.
    """
    address = _present(source)
    part = target.with_name(f"{target.name}.part")
    vain = 0
    while True:
        before = _size(part)
        try:
            about = _continue(source, address, part)
            break
        except _Broken as error:
            vain = 0 if _size(part) > before else vain + 1
            if vain == TRIES:
                raise DataError(
                    f"the download of {source.what} from {address} broke off after {_size(part):,} bytes "
                    f"({error}); run the command again, it goes on from there. {source.otherwise}".rstrip()
                ) from None
            time.sleep(PAUSE * 2 ** max(vain - 1, 0))
    sha256 = _file_sha256(part)
    for expected, who in ((source.sha256, "is expected"), (about.sha256, "the server states")):
        if expected is not None and expected != sha256:
            _forget(part)
            raise DataError(
                f"what {address} sent is not {source.what}: its sha256 is {sha256}, {expected} {who}; "
                "nothing of it was kept, run the command again"
            )
    part.replace(target)
    _forget(part)
    return sha256


def _present(source: Source) -> str:
    """The first address that answers with something else than 404."""
    missing = []
    for address in source.addresses:
        try:
            with _get(source, address, {"Range": "bytes=0-0"}) as answer:
                if answer.status_code not in (404, 410):
                    _refuse_errors(source, address, answer)
                    return address
        except _Broken as error:
            raise DataError(
                f"{source.what} cannot be downloaded: {address} does not answer ({error}). "
                f"{source.otherwise}".rstrip()
            ) from None
        missing.append(address)
    raise DataError(f"{source.what} is not at {' nor at '.join(missing)} (404). {source.otherwise}".rstrip())


def _continue(source: Source, address: str, part: Path) -> _Part:
    """Get what is missing of the file. Returns what the server said of it. Raises: _Broken, DataError."""
    known = _known(source, part, address)
    start = _size(part) if known else 0
    headers = {}
    if known and start:
        if start == known.total:
            return known
        headers = {"Range": f"bytes={start}-"} | ({"If-Range": known.tag} if known.tag else {})
    with _get(source, address, headers) as answer:
        if answer.status_code == 416:  # it has become shorter than what we have
            _forget(part)
            raise _Broken("the file has changed")
        _refuse_errors(source, address, answer)
        if answer.status_code != 206:
            start = 0
        about = _about(address, answer, start)
        _leave_room(source, part, about, start)
        _state_file(part).write_text(json.dumps(asdict(about)), encoding="utf-8")
        with (
            part.open("r+b" if start else "wb") as file,
            progress(f"downloading {source.what}", about.total, "bytes") as advance,
        ):
            file.seek(start)
            file.truncate()
            done = start
            for chunk in _chunks(answer):
                file.write(chunk)
                done += len(chunk)
                advance(done)
    if about.total is not None and done != about.total:
        raise _Broken(f"{done} of {about.total} bytes came")
    return about


def _get(source: Source, address: str, headers: Mapping[str, str]) -> requests.Response:
    import requests

    # Without "identity" a server may compress, and ranges would count other bytes.
    asked = {"Accept-Encoding": "identity", **headers}
    try:
        return requests.get(address, headers=asked, auth=_bearer(source.token), stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise _Broken(type(error).__name__) from None


def _bearer(token: str | None) -> Callable[[requests.PreparedRequest], requests.PreparedRequest] | None:
    """An Authorization header as requests wants it: it drops it by itself when another host is next."""
    if token is None:
        return None

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign


def _refuse_errors(source: Source, address: str, answer: requests.Response) -> None:
    """Raises: DataError, or _Broken for what passes by itself."""
    if answer.status_code in (401, 403):
        raise DataError(f"{address} does not give {source.what} to everybody. {source.refused}".rstrip())
    if answer.status_code >= 500 or answer.status_code == 429:
        raise _Broken(f"{answer.status_code} {answer.reason}")
    if answer.status_code not in (200, 206):
        raise DataError(
            f"{address} answers {answer.status_code} {answer.reason} instead of {source.what}. "
            f"{source.otherwise}".rstrip()
        )


def _about(address: str, answer: requests.Response, start: int) -> _Part:
    """Size, tag and checksum as the server states them. Raises: _Broken when it sends another range."""
    if answer.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != start:
            raise _Broken("the server sent another part of the file than asked for")
        total = None if found[2] == "*" else int(found[2])
    else:
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    tag = answer.headers.get("ETag", "")
    # A weak tag (W/…) does not promise the same bytes.
    strong = tag if tag.startswith('"') else answer.headers.get("Last-Modified")
    # The hub redirects to where large files lie, and says the sha256 of the file as it does.
    stated = [hop.headers.get("X-Linked-Etag", "").strip('"') for hop in (*answer.history, answer)]
    sha256 = next((value for value in stated if re.fullmatch(r"[0-9a-f]{64}", value)), None)
    return _Part(address, total, strong, sha256)


def _chunks(answer: requests.Response) -> Iterator[bytes]:
    import requests

    try:
        yield from answer.iter_content(CHUNK)
    except (requests.RequestException, OSError) as error:
        raise _Broken(type(error).__name__) from None


def _known(source: Source, part: Path, address: str) -> _Part | None:
    """What lies in ``.part``, if the next bytes of the same file can be asked for."""
    try:
        state: dict[str, Any] = json.loads(_state_file(part).read_text(encoding="utf-8"))
        known = _Part(**state)
    except (OSError, ValueError, TypeError):
        return None
    checkable = known.tag or known.sha256 or source.sha256
    return known if known.address == address and checkable else None


def _leave_room(source: Source, part: Path, about: _Part, start: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if about.total is not None and about.total - start > free:
        raise DataError(
            f"{source.what} needs {about.total - start:,} bytes, {free:,} are free in {part.parent}; make "
            "room, or set HARNESS_CACHE to a folder on another disk"
        )


def _state_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _forget(part: Path) -> None:
    for path in (part, _state_file(part)):
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
