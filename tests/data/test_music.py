"""Beethoven and YouTubeMix: natural order, published splits, segments, quantisation by segment."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from server import serving

from harness import configuration, registry
from harness.data import download
from harness.data.beethoven import Beethoven
from harness.data.music import natural_order, split_by_order
from harness.data.obtain import verify_obtained
from harness.data.quantisation import encode
from harness.data.youtubemix import YouTubeMix
from harness.errors import DataError

SETS = {"beethoven": Beethoven, "youtubemix": YouTubeMix}
COUNT = 25  # 22, 1 and 2 recordings
SAMPLES = 1000
SMALL = {"seconds": 0.025}  # 400 samples: two segments and 200 samples that are left


def lay_out(name: str, folder: Path, count: int = COUNT) -> Path:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(1)
    for number in range(count):
        file = f"{number}.wav" if name == "beethoven" else f"out{number:03d}.wav"
        soundfile.write(folder / file, noise.integers(-9000, 9000, SAMPLES).astype(np.int16), 16000)
    return folder


@pytest.fixture(params=SETS)
def name(request, monkeypatch) -> str:
    monkeypatch.setattr(SETS[request.param], "recordings", COUNT)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for variable in ("HARNESS_DATA", "HF_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    return request.param


@pytest.fixture
def folder(name, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    return lay_out(name, tmp_path / "data" / SETS[name].layouts[0])


def built(name: str, **options):
    cls = SETS[name]
    return cls(configuration.parse(cls.Config, {**SMALL, **options}))


def test_the_published_lengths_and_quantisers():
    beethoven, youtubemix = (registry.get("datasets", name).Config() for name in SETS)
    assert (beethoven.length, beethoven.quantiser) == (128_000, "linear")
    assert (youtubemix.length, youtubemix.quantiser) == (131_072, "mu_law")
    assert beethoven.sample_rate == youtubemix.sample_rate == 16000
    assert YouTubeMix.Config(seconds=60.032, rest="pad").length == 960_512


@pytest.mark.parametrize(
    ("count", "sizes"), [(4328, (3808, 260, 260)), (241, (212, 14, 15)), (9, (7, 1, 1)), (100, (88, 6, 6))]
)
def test_the_published_splits_follow_from_the_order(count, sizes):
    splits = split_by_order(count)
    assert tuple(splits.count(split) for split in ("train", "validation", "test")) == sizes
    assert splits == sorted(splits, key=("train", "validation", "test").index)


@given(st.integers(9, 5000))
def test_every_split_gets_recordings_from_nine_on(count):
    assert set(split_by_order(count)) == {"train", "validation", "test"}


def test_too_few_recordings_are_refused():
    with pytest.raises(DataError, match="leave none for validation; 9 are needed"):
        split_by_order(8)


def test_natural_order_counts_as_people_do():
    assert natural_order(["10.wav", "9.wav", "0.wav"]) == ["0.wav", "9.wav", "10.wav"]
    assert natural_order(["out10.wav", "out9.wav"]) == ["out9.wav", "out10.wav"]


def test_segments_follow_each_other_and_the_rest_is_dropped(name, folder):
    data = built(name)
    assert data.provenance.clips == {"train": 44, "validation": 2, "test": 4}
    assert data.provenance.version == f"hub, {COUNT} recordings"
    assert data.provenance.notes[0] == f"{200 * COUNT} samples dropped behind the last whole segments"
    assert set(data.splits["train"].lengths) == {400}
    assert data.splits["train"].labels is None


def test_each_segment_is_stretched_by_itself(name, folder):
    data = built(name)
    file = folder / ("24.wav" if name == "beethoven" else "out024.wav")
    wave = soundfile.read(file, dtype="float32")[0]
    quantiser = {"beethoven": "linear", "youtubemix": "mu_law"}[name]
    np.testing.assert_array_equal(data.splits["test"].tokens[2], encode(wave[:400], quantiser=quantiser))
    np.testing.assert_array_equal(data.splits["test"].tokens[3], encode(wave[400:800], quantiser=quantiser))


def test_the_rest_may_be_padded_instead(name, folder):
    data = built(name, rest="pad")
    assert data.splits["test"].lengths.tolist() == [400, 400, 200] * 2


def test_a_wrong_number_is_refused_unless_it_is_asked_for_and_then_recorded(name, folder):
    next(iter(folder.iterdir())).unlink()
    with pytest.raises(DataError, match=rf"holds 24 recordings, {name} has 25 .*allow_partial"):
        built(name)
    data = built(name, allow_partial=True)
    assert data.provenance.version == "part of the hub's: 24 of 25 recordings"
    assert data.provenance.notes[0] == "partial: 24 of 25 recordings"


def test_a_file_that_is_no_recording_is_named(name, folder):
    (folder / "piano sonata.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds piano sonata\.wav, which is no recording of"):
        built(name)


def test_a_path_without_recordings_says_what_was_expected(name, tmp_path):
    with pytest.raises(DataError, match=rf"holds no recordings of {name} \("):
        built(name, path=str(tmp_path))
    with pytest.raises(DataError, match="there is no folder"):
        built(name, path=str(tmp_path / "nowhere"))


def test_a_gated_download_needs_terms_and_token_and_is_then_kept(name, tmp_path, monkeypatch, cache_root):
    recordings = lay_out(name, tmp_path / "source")
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in recordings.iterdir():
            file.write(path, f"{name}/{path.name}")
    with serving() as files:
        monkeypatch.setenv("HF_ENDPOINT", files.address)
        files.token = "secret"
        stored = SETS[name].archives[-1]  # YouTubeMix's goes by two names
        files.offer(f"/datasets/krandiash/{name}/resolve/main/{stored}", archive.read_bytes())
        with pytest.raises(DataError, match=rf"accept its terms .*HF_TOKEN .*as {SETS[name].layouts[0]}"):
            built(name)
        monkeypatch.setenv("HF_TOKEN", "secret")
        data = built(name)
        assert data.provenance.clips == {"train": 44, "validation": 2, "test": 4}
        assert data.verify()
        # Nobody published a checksum: the first download is what later ones are held against.
        shutil.rmtree(cache_root / "downloads" / name)
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr("README", "changed")
        files.offer(f"/datasets/krandiash/{name}/resolve/main/{stored}", archive.read_bytes())
        with pytest.raises(DataError, match=r"has changed: .*at the first download it was"):
            built(name)


def test_a_downloaded_folder_that_changed_later_is_noticed(name, tmp_path, monkeypatch, cache_root):
    folder = lay_out(name, cache_root / "downloads" / name)
    (cache_root / "downloads" / f"{name}.json").write_text('{"content_sha256": "0"}')
    assert built(name).folder == folder
    with pytest.raises(DataError, match="no longer those that were downloaded"):
        verify_obtained(folder)
