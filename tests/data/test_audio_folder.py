"""A stranger's folder of sound: read, labelled, split by file, or refused with a reason."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import tone

from harness import configuration, registry
from harness.data import audio_folder
from harness.data.audio_folder import AudioFolder, assign_splits
from harness.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path, write_sound) -> Path:
    """Six files of two kinds, four formats, three rates, each of another pitch."""
    kinds = [("wav", 8000), ("flac", 16000), ("ogg", 44100), ("mp3", 16000), ("WAV", 8000), ("wav", 44100)]
    for number, (suffix, rate) in enumerate(kinds):
        place = tmp_path / "sounds" / ("cat" if number % 2 else "dog")
        write_sound(place / f"{number}.{suffix}", tone(0.1, rate, 300 + 50 * number), rate)
    return tmp_path / "sounds"


def opened(folder: Path, **options) -> AudioFolder:
    return AudioFolder(AudioFolder.Config(path=str(folder), **{"seconds": 0.1, **options}))


def all_of(dataset: AudioFolder, what: str) -> np.ndarray:
    return np.concatenate([getattr(split, what) for split in dataset.splits.values()])


def test_it_is_registered():
    assert registry.get("datasets", "audio_folder") is AudioFolder


def test_every_format_is_read_and_sub_folders_are_labels(folder):
    dataset = opened(folder)
    assert dataset.provenance.clips == {"train": 4, "validation": 1, "test": 1}
    assert sorted(all_of(dataset, "labels")) == [0, 0, 0, 1, 1, 1]
    assert "labels: 0 = cat, 1 = dog" in dataset.provenance.notes
    assert dataset.splits["train"].tokens.shape == (4, 800)


def test_without_sub_folders_there_are_no_labels(tmp_path, write_sound):
    for number in range(4):
        write_sound(tmp_path / "flat" / f"{number}.wav")
    dataset = opened(tmp_path / "flat")
    assert all(split.labels is None for split in dataset.splits.values())
    assert dataset.provenance.notes == ()


def test_files_beside_sub_folders_leave_no_labels_and_a_note(folder, write_sound):
    write_sound(folder / "stray.wav")
    dataset = opened(folder)
    assert dataset.splits["train"].labels is None
    assert dataset.provenance.notes == ("1 files lie outside of the sub-folders, so there are no labels",)


def test_long_files_become_segments_of_one_split(tmp_path, write_sound):
    for number in range(4):
        write_sound(tmp_path / "long" / f"{number}.wav", tone(0.35, hertz=200 * (number + 1)))
    dataset = opened(tmp_path / "long")
    assert dataset.provenance.clips == {"train": 8, "validation": 4, "test": 4}
    assert dataset.splits["test"].lengths.tolist() == [800, 800, 800, 400]
    assert "cut" not in " ".join(dataset.provenance.notes)


def test_a_last_piece_that_is_too_short_is_dropped_and_counted(tmp_path, write_sound):
    for number in range(3):
        write_sound(tmp_path / "long" / f"{number}.wav", tone(0.205))
    dataset = opened(tmp_path / "long")
    assert set(all_of(dataset, "lengths")) == {800}
    assert dataset.provenance.notes == ("3 files lost a last piece shorter than 0.1 of a clip",)


def test_a_short_file_is_kept_however_short(tmp_path, write_sound):
    for number in range(3):
        write_sound(tmp_path / "short" / f"{number}.wav", tone(0.005))
    assert set(all_of(opened(tmp_path / "short"), "lengths")) == {40}


def test_long_files_may_be_cut_instead(tmp_path, write_sound):
    for number in range(3):
        write_sound(tmp_path / "long" / f"{number}.wav", tone(0.35))
    dataset = opened(tmp_path / "long", long="cut")
    assert sum(dataset.provenance.clips.values()) == 3
    assert dataset.provenance.notes == ("3 files cut to length",)


def test_the_same_files_elsewhere_are_the_same_data(folder, tmp_path):
    first = opened(folder).provenance
    shutil.copytree(folder, tmp_path / "copy" / "sounds")
    assert opened(tmp_path / "copy" / "sounds").provenance == first


def test_a_changed_file_is_other_data(folder, write_sound):
    first = opened(folder).provenance
    write_sound(folder / "dog" / "0.wav", tone(0.1, hertz=999))
    second = opened(folder).provenance
    assert first.version != second.version
    assert first.sha256 != second.sha256


def test_an_unchanged_folder_is_not_read_again(folder, monkeypatch):
    first = opened(folder).provenance
    monkeypatch.setattr(audio_folder, "read_audio", None)
    monkeypatch.setattr(audio_folder.hashlib, "file_digest", None)
    assert opened(folder).provenance == first


def test_hidden_files_and_folders_are_no_sounds(folder, write_sound):
    before = opened(folder).provenance.clips
    (folder / "dog" / "._0.wav").write_bytes(b"resource fork")
    write_sound(folder / ".trash" / "old.wav")
    (folder / "notes.txt").write_text("not a sound")
    assert opened(folder).provenance.clips == before


def test_a_folder_without_sound_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"holds no sound files \(flac, mp3, ogg, wav\)"):
        opened(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        opened(tmp_path / "none")


def test_a_file_in_place_of_the_folder_is_refused(folder):
    with pytest.raises(DataError, match="is a file"):
        opened(folder / "dog" / "0.wav")


def test_two_files_are_too_few_for_three_splits(tmp_path, write_sound):
    for number in range(2):
        write_sound(tmp_path / "few" / f"{number}.wav")
    with pytest.raises(DataError, match="2 sound files"):
        opened(tmp_path / "few")


@pytest.mark.parametrize("content", [b"", b"no sound"])
def test_a_bad_file_is_named_and_nothing_is_left_behind(folder, cache_root, content):
    (folder / "dog" / "0.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"dog.0\.wav"):
        opened(folder)
    assert [path for path in (cache_root / "tokens").iterdir() if path.is_dir()] == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(folder):
    (folder / "dog" / "0.wav").chmod(0)
    with pytest.raises(DataError, match=r"0\.wav: Permission denied"):
        opened(folder)


def test_a_dangling_link_is_named(folder):
    (folder / "dog" / "gone.wav").symlink_to(folder / "nowhere.wav")
    with pytest.raises(DataError, match=r"gone\.wav: No such file"):
        opened(folder)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "path"),
        ({"path": "x", "test_fraction": 0.0}, "test_fraction"),
        ({"path": "x", "validation_fraction": 1.5}, "validation_fraction"),
        ({"path": "x", "validation_fraction": 0.5, "test_fraction": 0.5}, "test_fraction"),
        ({"path": "x", "long": "loop"}, "long"),
    ],
)
def test_impossible_settings_are_refused_by_name(options, field):
    with pytest.raises(ConfigError) as caught:
        configuration.parse(AudioFolder.Config, options)
    assert caught.value.path == (field,)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text("abc/", min_size=1, max_size=6), min_size=3, max_size=60))
def test_every_file_is_in_one_split_whatever_the_order(names):
    splits = assign_splits(sorted(names), 0.1, 0.1)
    assert set(splits) == names
    assert set(splits.values()) == {"train", "validation", "test"}
    assert splits == assign_splits(sorted(names, reverse=True), 0.1, 0.1)


def test_fractions_that_leave_no_training_are_refused():
    with pytest.raises(DataError, match="leave none"):
        assign_splits(["a", "b", "c"], 0.4, 0.5)
