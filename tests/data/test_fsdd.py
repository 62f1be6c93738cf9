"""The Free Spoken Digit Dataset: found or downloaded, verified, split."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harness import configuration, registry
from harness.data import download, fsdd
from harness.data.fsdd import FSDD, Recording
from harness.errors import ConfigError, DataError

REAL = os.environ.get("HARNESS_DATA")


@pytest.fixture
def miniature(tmp_path, monkeypatch, write_sound) -> Path:
    """A folder in the layout of the data set: two speakers, 11 takes, and a digest of its own."""
    monkeypatch.setattr(fsdd, "TAKES", 11)
    monkeypatch.setattr(fsdd, "SPEAKERS", ("lucas", "theo"))
    folder = tmp_path / "data" / "fsdd" / "recordings"
    noise = np.random.default_rng(0)
    long, short = (
        write_sound(tmp_path / "long.wav", noise.integers(-999, 999, size).astype(np.int16)).read_bytes()
        for size in (900, 20)
    )
    folder.mkdir(parents=True)
    for number, recording in enumerate(fsdd.recordings()):
        template = short if recording.take else long
        (folder / recording.file_name).write_bytes(template[:-2] + number.to_bytes(2, "little"))
    names = sorted(recording.file_name for recording in fsdd.recordings())
    monkeypatch.setattr(fsdd, "CONTENT_SHA256", fsdd.content_sha256(folder, names))
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(download, "fetch", None)  # no test touches the network
    return folder


@pytest.fixture
def offers(tmp_path, monkeypatch):
    """offers(members): the download is an archive with these members (name -> content)."""

    def offer(members: dict[str, bytes]) -> None:
        def fetch(source, target):
            assert source.addresses == (fsdd.ARCHIVE,)
            with zipfile.ZipFile(target, "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
            return "0" * 64

        monkeypatch.setattr(download, "fetch", fetch)
        monkeypatch.delenv("HARNESS_DATA")

    return offer


def packed(folder: Path) -> dict[str, bytes]:
    members = {f"fsdd-{fsdd.COMMIT}/recordings/{file.name}": file.read_bytes() for file in folder.iterdir()}
    return members | {f"fsdd-{fsdd.COMMIT}/README.md": b"read me"}


SMALL = FSDD.Config(seconds=0.1)


def test_it_is_registered():
    assert registry.get("datasets", "fsdd") is FSDD


def test_it_takes_over_the_shared_settings_of_another_audio_set():
    config = configuration.parse(FSDD.Config, {"sample_rate": 8000, "seconds": 1.0, "quantiser": "linear"})
    assert config.length == 8000


@pytest.mark.parametrize("place", ["..", ".", "../.."])
def test_harness_data_may_name_the_recordings_or_what_is_above(miniature, monkeypatch, place):
    monkeypatch.setenv("HARNESS_DATA", str((miniature / place).resolve()))
    assert FSDD(SMALL).provenance.clips == {"train": 20, "validation": 100, "test": 100}


def test_official_split_tests_on_takes_0_to_4_and_validates_on_5_to_9():
    config = FSDD.Config()
    splits = [fsdd.split_of(Recording(3, "theo", take), config) for take in range(50)]
    assert splits == ["test"] * 5 + ["validation"] * 5 + ["train"] * 40


def test_held_out_speakers_are_in_one_split_each():
    config = FSDD.Config(split="speakers", test_speaker="lucas", validation_speaker="george")
    for speaker in fsdd.SPEAKERS:
        splits = {
            fsdd.split_of(Recording(digit, speaker, take), config) for digit in (0, 9) for take in (0, 49)
        }
        assert splits == {{"lucas": "test", "george": "validation"}.get(speaker, "train")}


def test_nobody_is_held_out_twice():
    with pytest.raises(ConfigError) as caught:
        FSDD.Config(test_speaker="theo", validation_speaker="theo")
    assert caught.value.path == ("validation_speaker",)


def test_labels_are_the_digits_and_lengths_are_true(miniature):
    dataset = FSDD(SMALL)
    for split in dataset.splits.values():
        assert set(np.bincount(split.labels)) == {len(split) // 10}
    assert set(dataset.splits["train"].lengths) == {20}
    assert max(dataset.splits["test"].lengths) == 800
    assert dataset.provenance.notes == ("20 clips cut to length",)


def test_an_open_cache_needs_no_recordings(miniature, monkeypatch):
    first = FSDD(SMALL)
    monkeypatch.setenv("HARNESS_DATA", "/nowhere")
    assert FSDD(SMALL).provenance == first.provenance


def test_a_missing_recording_is_named(miniature):
    (miniature / "3_theo_7.wav").unlink()
    with pytest.raises(DataError, match=r"lacks 3_theo_7\.wav of the Free"):
        FSDD(SMALL)


def test_a_recording_too_much_is_named(miniature):
    (miniature / "3_nobody_7.wav").touch()
    with pytest.raises(DataError, match=r"3_nobody_7\.wav.*audio_folder"):
        FSDD(SMALL)


def test_files_that_are_no_recordings_do_no_harm(miniature):
    for name in ("README.md", ".hidden.wav", "Thumbs.db"):
        (miniature / name).touch()
    FSDD(SMALL)


def test_a_recording_of_0_bytes_is_named(miniature):
    (miniature / "3_theo_7.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"3_theo_7\.wav is empty"):
        FSDD(SMALL)


def test_a_truncated_recording_is_named(miniature):
    content = (miniature / "3_theo_0.wav").read_bytes()
    (miniature / "3_theo_0.wav").write_bytes(content[:500])
    with pytest.raises(DataError, match=r"3_theo_0\.wav is cut short"):
        FSDD(SMALL)


def test_a_changed_recording_is_refused(miniature):
    content = bytearray((miniature / "3_theo_7.wav").read_bytes())
    content[-1] ^= 1
    (miniature / "3_theo_7.wav").write_bytes(content)
    with pytest.raises(DataError, match="differ from those of commit"):
        FSDD(SMALL)


def test_a_download_is_unpacked_verified_and_kept(miniature, offers, monkeypatch, cache_root):
    found = FSDD(SMALL)
    offers(packed(miniature))
    assert FSDD(FSDD.Config(seconds=0.2)).provenance.clips == found.provenance.clips
    kept = cache_root / "downloads" / f"fsdd-{fsdd.COMMIT[:12]}"
    assert len(list(kept.iterdir())) == 220
    assert [path.name for path in kept.parent.iterdir() if path.is_dir()] == [kept.name]
    monkeypatch.setattr(download, "fetch", None)
    FSDD(FSDD.Config(seconds=0.3))  # not downloaded again


def test_a_damaged_download_is_fetched_anew(miniature, offers, cache_root):
    offers(packed(miniature))
    folder = fsdd.find_recordings()
    (folder / "3_theo_7.wav").write_bytes(b"")
    assert (fsdd.find_recordings() / "3_theo_7.wav").stat().st_size > 0


@pytest.mark.parametrize("name", ["../recordings/1_theo_1.wav", "/recordings/1_theo_1.wav", "a\\..\\b.wav"])
def test_an_archive_that_would_write_elsewhere_is_refused(miniature, offers, tmp_path, cache_root, name):
    offers({name: b"evil"})
    with pytest.raises(DataError, match="outside its folder"):
        fsdd.find_recordings()
    assert [path for path in (cache_root / "downloads").iterdir() if path.is_dir()] == []


def test_an_archive_with_other_contents_is_refused(miniature, offers, cache_root):
    members = packed(miniature)
    members[f"fsdd-{fsdd.COMMIT}/recordings/3_theo_7.wav"] = members[
        f"fsdd-{fsdd.COMMIT}/recordings/3_theo_8.wav"
    ]
    offers(members)
    with pytest.raises(DataError, match="differ from those of commit"):
        fsdd.find_recordings()
    assert [path for path in (cache_root / "downloads").iterdir() if path.is_dir()] == []


def test_an_archive_with_a_huge_member_is_refused(miniature, offers, monkeypatch):
    monkeypatch.setattr(fsdd, "LARGEST", 100)
    offers(packed(miniature))
    with pytest.raises(DataError, match="bytes"):
        fsdd.find_recordings()


def test_an_answer_that_is_no_archive_is_refused(miniature, monkeypatch):
    def fetch(source, target):
        target.write_text("<html>sign in</html>")
        return "0" * 64

    monkeypatch.setattr(download, "fetch", fetch)
    monkeypatch.delenv("HARNESS_DATA")
    with pytest.raises(DataError, match="not a whole zip"):
        fsdd.find_recordings()


def test_without_recordings_and_network_the_message_says_what_to_set(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(fsdd, "ARCHIVE", "http://127.0.0.1:9/none.zip")  # nobody listens there
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    with pytest.raises(DataError, match="set HARNESS_DATA"):
        FSDD(SMALL)
    assert f"HARNESS_DATA={tmp_path} holds no fsdd/recordings" in caplog.text


@pytest.mark.skipif(
    not REAL, reason="the real recordings: set HARNESS_DATA to the folder with fsdd/recordings"
)
class TestRealRecordings:
    def test_the_digest_is_the_pinned_one_and_the_splits_are_the_published_ones(self):
        dataset = FSDD(FSDD.Config())
        assert dataset.provenance.clips == {"train": 2400, "validation": 300, "test": 300}
        assert dataset.provenance.notes == ("20 clips cut to length",)
        for split in dataset.splits.values():
            assert set(np.bincount(split.labels)) == {len(split) // 10}
        lengths = np.concatenate([split.lengths for split in dataset.splits.values()])
        assert abs(lengths.mean() / 8000 - 0.43) < 0.01
        assert lengths.max() == 8000

    def test_a_speaker_can_be_held_out(self):
        dataset = FSDD(FSDD.Config(split="speakers"))
        assert dataset.provenance.clips == {"train": 2000, "validation": 500, "test": 500}

    def test_min_max_makes_every_recording_span_the_levels(self):
        split = FSDD(FSDD.Config()).splits["test"]
        for tokens, length in zip(split.tokens, split.lengths, strict=True):
            assert tokens[:length].min() == 0
            assert tokens[:length].max() >= 253
