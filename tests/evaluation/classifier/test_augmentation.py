"""Changes to training clips: what they may do, and that they can be switched off."""

import dataclasses

import numpy as np
import pytest
import torch

from harness.evaluation.classifier.augmentation import Augmentation
from harness.evaluation.classifier.settings import PRESETS

RATE = 8000
NONE = dataclasses.replace(PRESETS["small"], speed=0.0, shift_seconds=0.0, noise=0.0, mel_shift=0.0)


def augmentation(**changes) -> Augmentation:
    generator = torch.Generator().manual_seed(0)
    return Augmentation(dataclasses.replace(NONE, **changes), RATE, generator)


@pytest.fixture
def clips():
    t = torch.arange(RATE) / RATE
    return torch.sin(2 * np.pi * 500 * t).repeat(4, 1)


@pytest.fixture
def mel():
    return torch.rand(4, 40, 63, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_switched_off_they_change_nothing(clips, mel):
    off = augmentation()
    assert torch.equal(off.of_waveforms(clips), clips)
    assert torch.equal(off.of_spectra(mel), mel)


def test_speed_changes_the_pitch_by_at_most_its_share(clips):
    played = augmentation(speed=0.2).of_waveforms(clips)[:, : RATE // 2]
    pitch = torch.fft.rfft(played).abs().argmax(dim=1) * 2.0
    assert pitch.unique().numel() > 1
    assert ((pitch > 500 * 0.8 - 3) & (pitch < 500 * 1.2 + 3)).all()


def test_a_shift_moves_the_clip_and_puts_silence_where_nothing_was(clips):
    moved = augmentation(shift_seconds=0.1).of_waveforms(clips + 2.0)
    silent = (moved == 0).sum(dim=1)
    assert (silent > 0).any() and (silent <= 0.1 * RATE + 1).all()
    assert torch.allclose(moved[:, RATE // 2], moved[:, RATE // 2].clamp(0.9, 3.1))


def test_noise_is_at_most_as_loud_as_the_clip(clips):
    noise = augmentation(noise=1.0).of_waveforms(clips) - clips
    share = noise.square().mean(dim=1) / clips.square().mean(dim=1)
    assert (share > 0.5e-5).all() and (share < 1.1).all()


def test_a_moved_spectrum_keeps_its_range_and_its_frames_apart(mel):
    mel[:, :, 10:] = 0.5
    moved = augmentation(mel_shift=2.0).of_spectra(mel)
    assert not torch.equal(moved[:, :, :10], mel[:, :, :10])
    assert torch.allclose(moved[:, :, 10:], mel[:, :, 10:])
    assert moved.min() >= mel.min() and moved.max() <= mel.max()


def test_the_same_seed_draws_the_same(clips):
    first, second = (augmentation(speed=0.2, noise=0.5).of_waveforms(clips) for _ in range(2))
    assert torch.equal(first, second)
