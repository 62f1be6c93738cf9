"""Any sound file that can be trusted is read; the others are named."""

from pathlib import Path

import numpy as np
import pytest
from sounds import tone

from harness.data.audio_file import read_audio, resample
from harness.errors import DataError


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_U8", 1e-2),
        ("a.wav", "FLOAT", 0),
        ("a.flac", "PCM_24", 1e-6),
        ("a.ogg", "VORBIS", 0.1),
        ("a.mp3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_formats_and_depths_give_the_same_waveform(tmp_path, write_sound, name, subtype, tolerance):
    path = write_sound(tmp_path / name, tone(0.5, 16000), 16000, subtype=subtype)
    np.testing.assert_allclose(read_audio(path, 16000), tone(0.5, 16000), rtol=0, atol=tolerance)


def test_sixteen_bit_samples_are_divided_by_two_to_the_fifteen(tmp_path, write_sound):
    samples = np.array([-32768, -1, 0, 1, 32767], dtype=np.int16)
    read = read_audio(write_sound(tmp_path / "a.wav", samples), 8000)
    np.testing.assert_array_equal(read, samples.astype(np.float32) / 32768)


def test_channels_are_averaged(tmp_path, write_sound):
    stereo = np.stack([tone(), np.zeros_like(tone())], axis=1)
    read = read_audio(write_sound(tmp_path / "a.wav", stereo, subtype="FLOAT"), 8000)
    np.testing.assert_allclose(read, tone() / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [4000, 11025, 22050, 44100, 48000])
def test_another_rate_is_resampled(tmp_path, write_sound, rate):
    path = write_sound(tmp_path / "a.wav", tone(0.5, rate), rate, subtype="FLOAT")
    read = read_audio(path, 8000)
    assert len(read) == 4000
    middle = slice(400, 3600)  # away from the edges, which the filter smears
    np.testing.assert_allclose(read[middle], tone(0.5, 8000)[middle], atol=5e-3)


def test_resampling_does_not_depend_on_the_number_of_threads():
    import torch

    noise = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = resample(noise, 22050, 8000)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(two, resample(noise, 22050, 8000))


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_audio(path, 8000)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "none.wav")


def test_a_file_of_0_bytes_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    path.touch()
    assert "empty (0 bytes)" in refused(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_file_that_is_not_sound_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"no sound at all " * 100)
    assert "as sound" in refused(path)


@pytest.mark.parametrize("share", [0.9, 0.5])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_truncated_file_is_refused(tmp_path, write_sound, name, share):
    noise = np.random.default_rng(0).standard_normal(40000).astype(np.float32) * 0.1
    path = write_sound(tmp_path / name, noise, 16000)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refused(path)


def test_a_wav_that_was_streamed_has_no_size_and_is_read(tmp_path, write_sound):
    path = write_sound(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    size = content.index(b"data") + 4
    content[size : size + 4] = content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(read_audio(path, 8000)) == len(tone())


def test_a_file_without_samples_is_refused(tmp_path, write_sound):
    assert "no samples" in refused(write_sound(tmp_path / "a.wav", np.zeros(0, np.float32)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_refused(tmp_path, write_sound, bad):
    waveform = tone()
    waveform[3] = bad
    assert "NaN" in refused(write_sound(tmp_path / "a.wav", waveform, subtype="FLOAT"))


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "a.wav").mkdir()
    refused(tmp_path / "a.wav")
