"""Downloads: continued where they broke, checked before they have a name, refused with advice."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from server import serving

from harness.data import download
from harness.data.download import Source, fetch
from harness.data.hub import hub_source
from harness.errors import DataError

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def files(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setattr(download, "CHUNK", 10_000)
    with serving() as files:
        yield files


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "set.zip"


def source(files, *, sha256: str | None = SHA256, **options) -> Source:
    return Source(addresses=(files.offer("/set.zip", CONTENT),), what="the set", sha256=sha256, **options)


def bodies(files) -> list[str | None]:
    """The ranges asked for, without the question whether the file is there."""
    return [asked for _, asked in files.asked if asked != "bytes=0-0"]


def leftovers(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


def test_a_file_arrives_whole_and_alone(files, target):
    assert fetch(source(files), target) == SHA256
    assert target.read_bytes() == CONTENT
    assert leftovers(target) == {"set.zip"}


def test_what_breaks_midway_is_continued_by_range_in_the_same_call(files, target):
    files.breaks = [120_000, 50_000]
    assert fetch(source(files), target) == SHA256
    assert bodies(files) == [None, "bytes=120000-", "bytes=170000-"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(files, target):
    files.breaks = [120_000, *[0] * download.TRIES]
    with pytest.raises(DataError, match=r"broke off after 120,000 bytes .*run the command again"):
        fetch(source(files), target)
    assert not target.exists()
    files.asked.clear()
    assert fetch(source(files), target) == SHA256
    assert bodies(files) == ["bytes=120000-"]


def test_two_versions_of_a_file_are_never_glued_together(files, target):
    files.breaks = [120_000, *[0] * download.TRIES]
    with pytest.raises(DataError):
        fetch(source(files, sha256=None), target)
    newer = bytes(reversed(CONTENT))
    files.content["/set.zip"] = newer
    fetch(Source(addresses=(files.address + "/set.zip",), what="the set"), target)
    assert target.read_bytes() == newer


def test_a_server_without_ranges_is_asked_from_the_beginning(files, target):
    files.ranges = False
    files.breaks = [120_000]
    assert fetch(source(files), target) == SHA256


def test_without_tag_and_checksum_nothing_is_continued(files, target):
    files.tags = False
    files.breaks = [120_000]
    assert fetch(source(files, sha256=None), target) == SHA256
    assert bodies(files) == [None, None]


def test_a_part_that_is_longer_than_the_file_is_thrown_away(files, target):
    files.breaks = [250_000, *[0] * download.TRIES]
    with pytest.raises(DataError):
        fetch(source(files), target)
    files.content["/set.zip"] = CONTENT[:100_000]
    fetch(Source(addresses=(files.address + "/set.zip",), what="the set"), target)
    assert target.read_bytes() == files.content["/set.zip"]


@pytest.mark.parametrize("who", ["is expected", "the server states"])
def test_a_wrong_checksum_is_refused_and_nothing_kept(files, target, who):
    wrong = "0" * 64
    if who == "is expected":
        asked = source(files, sha256=wrong)
    else:
        asked = source(files, sha256=None)
        files.stated["/set.zip"] = wrong
    with pytest.raises(DataError, match=f"its sha256 is {SHA256}, {wrong} {who}"):
        fetch(asked, target)
    assert leftovers(target) == set()


def test_the_second_address_serves_when_the_first_has_nothing(files, target):
    first = source(files)
    asked = Source(addresses=(files.address + "/old.zip", *first.addresses), what="the set", sha256=SHA256)
    assert fetch(asked, target) == SHA256


def test_a_file_that_is_nowhere_is_said_to_be_so(files, target):
    with pytest.raises(DataError, match=r"the set is not at .*/gone.zip \(404\)\. Ask a friend"):
        fetch(
            Source(addresses=(f"{files.address}/gone.zip",), what="the set", otherwise="Ask a friend"),
            target,
        )


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_reported_with_its_answer(files, target, status):
    asked = source(files)
    files.status["/set.zip"] = status
    with pytest.raises(DataError, match=rf"does not answer \({status}"):
        fetch(asked, target)


def test_a_server_that_is_not_there_is_reported(target):
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/x\.zip does not answer"):
        fetch(Source(addresses=("http://127.0.0.1:9/x.zip",), what="the set"), target)


def test_a_full_disk_is_noticed_before(files, target, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"needs 300,000 bytes, 1,000 are free .* HARNESS_CACHE"):
        fetch(source(files), target)


@pytest.fixture
def gated(files, monkeypatch) -> Source:
    files.token = "secret"
    monkeypatch.setenv("HF_ENDPOINT", files.address)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    files.offer("/datasets/somebody/piano/resolve/main/piano.zip", CONTENT)
    return lambda: hub_source("somebody/piano", ("piano.zip",), what="the piano", otherwise="Or buy one")


def test_a_gated_set_says_where_to_accept_the_terms_and_how_to_give_a_token(files, target, gated):
    with pytest.raises(DataError) as caught:
        fetch(gated(), target)
    message = str(caught.value)
    assert f"{files.address}/datasets/somebody/piano" in message and "accept its terms" in message
    assert f"{files.address}/settings/tokens" in message and "HF_TOKEN" in message
    assert message.endswith("Or buy one")


def test_a_token_opens_a_gated_set(target, gated, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert fetch(gated(), target) == SHA256


def test_a_token_that_does_not_help_is_told_apart_from_none(target, gated, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "stolen")
    with pytest.raises(DataError, match="HF_TOKEN is set, but its account has not accepted") as caught:
        fetch(gated(), target)
    assert "stolen" not in str(caught.value)


def test_a_token_is_not_shown_to_the_host_that_is_redirected_to(files, target, gated, monkeypatch):
    """The hub sends on to where large files lie."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    with serving() as elsewhere:
        elsewhere.offer("/large.zip", CONTENT)
        address = elsewhere.address.replace("127.0.0.1", "localhost") + "/large.zip"
        files.redirects["/datasets/somebody/piano/resolve/main/piano.zip"] = address
        assert fetch(gated(), target) == SHA256
        assert set(files.tokens) == {"Bearer secret"}
        assert set(elsewhere.tokens) == {None}
