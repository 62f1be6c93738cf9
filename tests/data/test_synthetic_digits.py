"""The embedded data set: reproducible, balanced, and nobody in two splits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import configuration, registry
from harness.data import espeak, token_cache
from harness.data.synthetic_digits import ACCENTS, SyntheticDigits, draw_speakers
from harness.errors import ConfigError, DataError

SMALL = SyntheticDigits.Config(speakers=4, seconds=0.5)


def test_it_is_registered():
    assert registry.get("datasets", "synthetic_digits") is SyntheticDigits


def test_every_speaker_says_every_digit():
    dataset = SyntheticDigits(SMALL)
    assert dataset.provenance.clips == {"train": 20, "validation": 10, "test": 10}
    for split in dataset.splits.values():
        assert split.tokens.shape == (len(split), 4000)
        assert set(np.bincount(split.labels, minlength=10)) == {len(split) // 10}
        assert (split.lengths > 800).all()
        assert (split.lengths <= 4000).all()


def test_takes_are_different_recordings_of_the_same_digit():
    split = SyntheticDigits(SyntheticDigits.Config(speakers=3, takes=3, seconds=0.5)).splits["test"]
    assert len(split) == 30
    zeros = split.tokens[split.labels == 0]
    assert len({clip.tobytes() for clip in zeros}) == 3


def test_two_generations_are_equal_to_the_bit(tmp_path, monkeypatch):
    datasets = []
    for name in ("one", "two"):
        monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / name))
        datasets.append(SyntheticDigits(SyntheticDigits.Config(speakers=12)))
    assert datasets[0].provenance == datasets[1].provenance
    for name, split in datasets[0].splits.items():
        np.testing.assert_array_equal(split.tokens, datasets[1].splits[name].tokens)


def test_the_second_opening_speaks_nothing(monkeypatch):
    first = SyntheticDigits(SMALL)
    monkeypatch.setattr(espeak, "speak", None)
    assert SyntheticDigits(SMALL).provenance == first.provenance


def test_it_is_called_synthetic():
    provenance = SyntheticDigits(SMALL).provenance
    assert "synthetic (espeak-ng)" in provenance.source
    assert espeak.engine_version() in provenance.version
    assert "GPL" in provenance.licence
    assert any("pseudo-speakers: 2 train, 1 validation, 1 test" in note for note in provenance.notes)


def test_decoded_tokens_sound():
    dataset = SyntheticDigits(SMALL)
    split = dataset.splits["test"]
    waveform = dataset.decode(split.tokens[0])
    assert waveform.shape == (4000,)
    assert np.abs(waveform).max() <= 1
    assert waveform[: split.lengths[0]].std() > 0.02
    assert np.abs(waveform[split.lengths[0] :]).max(initial=0) == 0  # the padding


def test_all_accents_are_known_to_the_engine():
    script = [espeak.Utterance(voice=f"{accent}+m1", text="four") for accent in ACCENTS]
    sounds = {samples.tobytes() for samples, _ in espeak.speak(script)}
    assert len(sounds) == len(ACCENTS)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 300), st.integers(3, 120), st.integers(0, 5))
def test_no_timbre_and_no_speaker_is_in_two_splits(count, variants, seed):
    speakers = draw_speakers([f"v{number}" for number in range(variants)], count, seed)
    everybody = [speaker for split in token_cache.SPLITS for speaker in speakers[split]]
    assert len(everybody) == len(set(everybody)) == count
    timbres = [{speaker.variant for speaker in speakers[split]} for split in token_cache.SPLITS]
    assert all(timbres)
    assert sum(map(len, timbres)) == len(set.union(*timbres))


def test_another_seed_draws_other_speakers():
    variants = espeak.variants()
    assert draw_speakers(variants, 9, 0) == draw_speakers(variants, 9, 0)
    assert draw_speakers(variants, 9, 0) != draw_speakers(variants, 9, 1)


def test_the_largest_number_of_speakers_can_be_drawn():
    largest = draw_speakers(espeak.variants(), 20_000, 0)
    assert sum(map(len, largest.values())) == 20_000


def test_too_few_voices_are_an_error():
    with pytest.raises(DataError, match="voice variants"):
        draw_speakers(["one", "two"], 10, 0)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"speakers": 2}, "speakers"), ({"speakers": 10**6}, "speakers"), ({"takes": 0}, "takes")],
)
def test_impossible_sizes_are_refused(options, field):
    with pytest.raises(ConfigError) as caught:
        configuration.parse(SyntheticDigits.Config, options)
    assert caught.value.path == (field,)
