"""The token cache: made once, opened often, never trusted blindly."""

import json
import logging
import multiprocessing
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cache import cache_root
from harness.data import token_cache
from harness.errors import DataError

LENGTH = 8


def build(writer: token_cache.TokenWriter) -> list[str]:
    for number, split in enumerate(("train", "train", "validation", "test")):
        writer.add(split, np.full(LENGTH, number, dtype=np.uint8), number + 1, number * 10)
    return ["a note"]


def must_not_build(writer: token_cache.TokenWriter) -> list[str]:
    raise AssertionError("the cache was there and should have been used")


def opened(build=build, **identity) -> token_cache.CachedTokens:
    return token_cache.open_or_build("toy", identity, LENGTH, build)


def entry(root: Path) -> Path:
    (found,) = [path for path in (root / "tokens").iterdir() if path.is_dir()]
    return found


def test_what_was_written_is_what_is_read():
    cached = opened()
    train = cached.splits["train"]
    np.testing.assert_array_equal(train.tokens, [[0] * LENGTH, [1] * LENGTH])
    np.testing.assert_array_equal(train.lengths, [1, 2])
    np.testing.assert_array_equal(train.labels, [0, 10])
    assert [len(cached.splits[split]) for split in token_cache.SPLITS] == [2, 1, 1]
    assert cached.notes == ("a note",)


def test_tokens_are_memory_mapped_and_cannot_be_changed():
    tokens = opened().splits["train"].tokens
    assert isinstance(tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0, 0] = 1


def test_what_is_taken_out_shares_the_memory_and_is_a_plain_array():
    tokens = opened().splits["train"].tokens
    row = tokens[1]
    assert type(row) is np.ndarray and np.shares_memory(row, tokens)
    assert type(tokens[[0, 1]]) is np.ndarray and tokens[1, 0] == 1
    np.testing.assert_array_equal(np.asarray(tokens), tokens[:])


def test_the_second_opening_builds_nothing_and_gives_the_same():
    first, second = opened(), opened(must_not_build)
    assert first.sha256 == second.sha256
    assert first.notes == second.notes


def test_another_identity_is_another_entry():
    opened(seed=1)
    with pytest.raises(AssertionError):
        opened(must_not_build, seed=2)


def test_labels_may_be_absent():
    def unlabelled(writer):
        for split in token_cache.SPLITS:
            writer.add(split, np.zeros(LENGTH, np.uint8), 1)
        return []

    assert opened(unlabelled).splits["test"].labels is None


DAMAGES = {
    "cut tokens": lambda folder: (folder / "train.tokens").write_bytes(b"\0" * 5),
    "changed token": lambda folder: (folder / "train.tokens").write_bytes(b"\1" * 2 * LENGTH),
    "missing lengths": lambda folder: (folder / "test.lengths").unlink(),
    "cut manifest": lambda folder: (folder / "manifest.json").write_text('{"key": '),
    "manifest of something else": lambda folder: (folder / "manifest.json").write_text("[]"),
    "manifest of other tokens": lambda folder: (folder / "manifest.json").write_text(
        json.dumps(json.loads((folder / "manifest.json").read_text()) | {"key": "0" * 64})
    ),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_rebuilt_with_one_line_of_warning(cache_root, caplog, damage):
    sha256 = opened().sha256
    time.sleep(0.01)  # so that the file's time of modification differs
    DAMAGES[damage](entry(cache_root))
    with caplog.at_level(logging.WARNING):
        assert opened().sha256 == sha256
    (record,) = caplog.records
    assert "rebuilding the token cache" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert opened(must_not_build).sha256 == sha256


def test_large_caches_are_checked_by_size(cache_root, monkeypatch):
    monkeypatch.setattr(token_cache, "CHECKED_IN_FULL", 0)
    opened()
    (entry(cache_root) / "train.tokens").write_bytes(b"\1" * 2 * LENGTH)
    opened(must_not_build)
    (entry(cache_root) / "train.tokens").write_bytes(b"\1" * LENGTH)
    with pytest.raises(AssertionError):
        opened(must_not_build)


def test_verifying_reads_large_caches_in_full_and_removes_a_damaged_one(cache_root, monkeypatch):
    monkeypatch.setattr(token_cache, "CHECKED_IN_FULL", 0)
    cached = opened()
    token_cache.verify(cached)
    (entry(cache_root) / "train.tokens").write_bytes(b"\1" * 2 * LENGTH)
    with pytest.raises(DataError, match=r"was damaged \(the checksum of train\.tokens .* has been removed"):
        token_cache.verify(opened(must_not_build))
    assert opened().sha256 == cached.sha256


def test_a_failed_build_leaves_nothing_behind(cache_root):
    def fail(writer):
        writer.add("train", np.zeros(LENGTH, np.uint8), 1)
        raise DataError("a.wav is cut short")

    with pytest.raises(DataError, match=r"a\.wav"):
        opened(fail)
    assert [path for path in (cache_root / "tokens").iterdir() if path.is_dir()] == []
    opened()


def test_what_a_killed_builder_left_is_cleared_away(cache_root):
    opened()
    folder = entry(cache_root)
    left = folder.with_name(folder.name + ".building")
    shutil.copytree(folder, left)
    (folder / "manifest.json").unlink()
    opened()
    assert not left.exists()


def test_an_empty_split_is_refused():
    def no_test(writer):
        for split in ("train", "validation"):
            writer.add(split, np.zeros(LENGTH, np.uint8), 1)
        return []

    with pytest.raises(DataError, match="test split"):
        opened(no_test)


@pytest.mark.parametrize(
    ("tokens", "length"),
    [
        (np.zeros(LENGTH - 1, np.uint8), 1),
        (np.zeros(LENGTH, np.int64), 1),
        (np.zeros(LENGTH, np.uint8), 0),
        (np.zeros(LENGTH, np.uint8), LENGTH + 1),
    ],
)
def test_the_writer_takes_nothing_but_clips(tokens, length):
    with pytest.raises(ValueError, match="not a clip"):
        opened(lambda writer: writer.add("train", tokens, length))


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="HARNESS_CACHE"):
        opened()


def test_without_a_chosen_root_the_users_cache_folder_is_taken(monkeypatch):
    monkeypatch.delenv("HARNESS_CACHE")
    assert "longseq-harness" in str(cache_root())


def _slow_build(writer: token_cache.TokenWriter) -> list[str]:
    with Path(writer._folder.parent, "builds.log").open("a") as log:
        log.write("built\n")
    time.sleep(0.2)
    return build(writer)


def _open_in_process(_: int) -> str:
    return token_cache.open_or_build("toy", {}, LENGTH, _slow_build).sha256


def test_processes_that_open_together_build_once(cache_root):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert len(set(pool.map(_open_in_process, range(4), chunksize=1))) == 1
    assert (cache_root / "tokens" / "builds.log").read_text() == "built\n"


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(token_cache.SPLITS),
            st.binary(min_size=LENGTH, max_size=LENGTH),
            st.integers(1, LENGTH),
        ),
        max_size=12,
    )
)
def test_any_clips_survive_the_round_trip(tmp_path_factory, clips):
    folder = tmp_path_factory.mktemp("entry")
    clips = [*clips, *((split, bytes(LENGTH), LENGTH) for split in token_cache.SPLITS)]

    def write(writer):
        for split, content, length in clips:
            writer.add(split, np.frombuffer(content, np.uint8), length)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder))
        splits = opened(write).splits
    for split in token_cache.SPLITS:
        mine = [clip for clip in clips if clip[0] == split]
        assert splits[split].tokens.tobytes() == b"".join(content for _, content, _ in mine)
        assert splits[split].lengths.tolist() == [length for *_, length in mine]
