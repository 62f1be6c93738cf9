"""From a waveform to a padded clip, and the configuration that all audio data sets share."""

import numpy as np
import pytest
from sounds import tone

from harness import configuration
from harness.data.audio import PADDING, AudioConfig, tokenise
from harness.data.quantisation import encode
from harness.errors import ConfigError


def test_length_is_rate_times_seconds():
    assert AudioConfig(sample_rate=16000, seconds=0.5).length == 8000
    assert AudioConfig().vocab_size == 256


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"sample_rate": -8000}, "sample_rate"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": -1.0}, "seconds"),
        ({"seconds": 1e9}, "seconds"),
        ({"quantiser": "mulaw"}, "quantiser"),
        ({"recipe": "sashimi"}, "recipe"),
        ({"sample_rate": "8000"}, "sample_rate"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(options, field):
    with pytest.raises(ConfigError) as caught:
        configuration.parse(AudioConfig, options)
    assert caught.value.path == (field,)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_seconds_that_are_no_number_are_refused(seconds):
    with pytest.raises(ConfigError):
        AudioConfig(seconds=seconds)


def test_a_long_clip_is_cut_and_says_so():
    clip = tokenise(tone(0.2), AudioConfig(seconds=0.1))
    assert (clip.length, clip.cut, len(clip.tokens)) == (800, True, 800)


def test_s4_rescales_the_true_samples_and_pads_with_the_middle_token():
    waveform = 0.25 + tone(0.05, peak=0.1)  # zero, the padding, lies outside its range
    clip = tokenise(waveform, AudioConfig(seconds=0.1))
    assert (clip.length, clip.cut) == (400, False)
    np.testing.assert_array_equal(clip.tokens[:400], encode(waveform))
    assert set(clip.tokens[400:]) == {PADDING}


def test_poolformer_rescales_the_padded_clip():
    waveform = 0.25 + tone(0.05, peak=0.1)
    clip = tokenise(waveform, AudioConfig(seconds=0.1, recipe="poolformer"))
    padded = np.pad(waveform, (0, 400))
    np.testing.assert_array_equal(clip.tokens, encode(padded, recipe="poolformer"))
    assert clip.length == 400
    assert set(clip.tokens[400:]) == {0}  # the lowest sample of the padded clip


def test_min_max_looks_at_what_is_left_after_the_cut():
    waveform = np.concatenate([tone(0.1, peak=0.1), tone(0.1, peak=0.9)])
    clip = tokenise(waveform, AudioConfig(seconds=0.1))
    np.testing.assert_array_equal(clip.tokens, encode(waveform[:800]))
