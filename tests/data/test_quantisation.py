"""The quantisers against the originals' numbers, and the laws they keep."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.data.quantisation import FULL_SCALE, decode, decoding_table, encode

QUANTISERS = {"mu_law": "mulaw", "linear": "linear"}
PIPELINES = {  # in the golden file -> ours
    "s4": {"recipe": "s4", "min_max": True},
    "pf_minmax": {"recipe": "poolformer", "min_max": True},
    "pf_plain": {"recipe": "poolformer", "min_max": False},
}
LARGEST_SHARE_OFF = 0.001
"""Of the tokens that may be off by one: the floor at a boundary hangs on the last bit of log1p."""


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    default = Path(__file__).parents[1] / "goldens"
    folder = Path(request.config.getoption("--goldens", default=None) or default)
    path = folder / "metrics" / "quantisers.npz"
    if folder != default and not path.is_file():
        pytest.skip(f"{folder} has no metrics/quantisers.npz")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def differences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return np.abs(ours.astype(int) - theirs.astype(int))


@pytest.mark.parametrize("quantiser", QUANTISERS)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_tokens_are_those_of_the_original(golden, pipeline, quantiser):
    waves = golden["wave_int16"].astype(np.float32) / FULL_SCALE
    ours = encode(waves, quantiser=quantiser, **PIPELINES[pipeline])
    off = differences(ours, golden[f"{pipeline}_{QUANTISERS[quantiser]}_tokens"])
    assert off.max() <= 1
    assert (off > 0).mean() <= LARGEST_SHARE_OFF


@pytest.mark.parametrize("quantiser", QUANTISERS)
def test_decoding_is_that_of_s4(golden, quantiser):
    name = QUANTISERS[quantiser]
    ours = decode(golden[f"s4_{name}_tokens"], quantiser=quantiser)
    np.testing.assert_allclose(ours, golden[f"s4_{name}_decoded"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(
        decoding_table(quantiser, "s4"), golden[f"s4_{name}_decode_table"], rtol=0, atol=1e-7
    )


@pytest.mark.parametrize(("quantiser", "scale"), [("mu_law", 32768), ("linear", 32767)])
def test_decoding_is_that_of_the_poolformer_repository_in_int16(golden, quantiser, scale):
    ours = np.trunc(decoding_table(quantiser, "poolformer") * scale)
    theirs = golden[f"pf_{QUANTISERS[quantiser]}_decode_table_int16"]
    # The original's mu-law wraps around at the loudest token: 32768 does not fit into int16.
    loudest = 255 if quantiser == "mu_law" else 256
    assert differences(ours[:loudest], theirs[:loudest]).max() <= 1


def test_rows_are_rescaled_one_by_one():
    quiet, loud = np.linspace(-0.01, 0.01, 64), np.linspace(-0.9, 0.9, 64)
    together = encode(np.stack([quiet, loud]))
    np.testing.assert_array_equal(together, np.stack([encode(quiet), encode(loud)]))


def test_silence_becomes_token_0_with_min_max_and_the_middle_without():
    silence = np.zeros(8)
    for quantiser in QUANTISERS:
        assert set(encode(silence, quantiser=quantiser)) == {0}
        assert set(encode(silence, quantiser=quantiser, min_max=False)) == {128}


def test_beyond_full_scale_is_clipped_without_min_max():
    for quantiser in QUANTISERS:
        for recipe in ("s4", "poolformer"):
            tokens = encode(np.array([-7.0, 7.0]), quantiser=quantiser, min_max=False, recipe=recipe)
            assert tokens.tolist() == [0, 255]


def test_fewer_bits_give_fewer_levels():
    ramp = np.linspace(-1, 1, 1000)
    for quantiser in QUANTISERS:
        for recipe in ("s4", "poolformer"):
            assert set(encode(ramp, quantiser=quantiser, recipe=recipe, bits=4)) == set(range(16))


waveforms = arrays(np.float32, st.integers(2, 50), elements=st.floats(-1, 1, width=32))
choices = st.fixed_dictionaries(
    {
        "quantiser": st.sampled_from(sorted(QUANTISERS)),
        "recipe": st.sampled_from(["s4", "poolformer"]),
    }
)


@settings(max_examples=30, deadline=None)
@given(waveforms, choices, st.booleans())
def test_a_higher_sample_never_gets_a_lower_token(waveform, choice, min_max):
    tokens = encode(np.sort(waveform), min_max=min_max, **choice).astype(int)
    assert (np.diff(tokens) >= 0).all()


@settings(max_examples=30, deadline=None)
@given(choices)
def test_encoding_what_a_token_stands_for_gives_the_token_back(choice):
    tokens = np.arange(256)
    again = encode(decode(tokens, **choice), min_max=False, **choice)
    assert differences(again, tokens).max() <= 1


@settings(max_examples=30, deadline=None)
@given(waveforms, st.sampled_from(["s4", "poolformer"]))
def test_the_linear_quantiser_errs_by_at_most_two_levels(waveform, recipe):
    decoded = decode(
        encode(waveform, quantiser="linear", min_max=False, recipe=recipe), quantiser="linear", recipe=recipe
    )
    assert np.abs(decoded - waveform).max() <= 2 * 2 / 256
