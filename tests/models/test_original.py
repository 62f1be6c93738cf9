"""Bringing the authors' weights and settings in, and ours out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError, HarnessError
from models.original import config_from_original, load_original, to_original
from models.poolformer import Poolformer, PoolformerConfig

SETTINGS: dict[str, Any] = {
    "base_dim": 8,
    "pool_temporal": [2, 3],
    "pool_features": [1, 1],
    "model_structure": [["conv", "rglru"], ["rglru"], ["rglru"]],
    "conv_pooling": True,
    "use_temporal_cnn": False,
    "rnn": {"d_hidden": 16, "n_diag_blocks": 2},
}


def arrays_of(model: Poolformer) -> dict[str, np.ndarray]:
    return {
        name: value.detach().numpy()
        for name, value in to_original(model, dict(model.named_parameters())).items()
    }


@given(
    options=st.fixed_dictionaries(
        {},
        optional={
            "conv_pooling": st.booleans(),
            "use_temporal_cnn": st.booleans(),
            "use_gating": st.booleans(),
            "unet": st.booleans(),
            "norm": st.sampled_from(["layer", "rms", "none"]),
            "input_transform": st.sampled_from(["sine", "embed", "mlp"]),
            "pool_features": st.sampled_from([[1, 1], [2, 1], [2, 2]]),
            "rnn": st.fixed_dictionaries(
                {"d_hidden": st.just(16), "n_diag_blocks": st.just(2)},
                optional={
                    "block_type": st.sampled_from(["rglru", "lru", "rnn"]),
                    "only_real": st.booleans(),
                    "input_norm": st.booleans(),
                    "adaptive_d": st.booleans(),
                    "adaptive_phase": st.booleans(),
                },
            ),
        },
    )
)
@settings(max_examples=25, deadline=None)
def test_weights_survive_the_way_out_and_in_with_every_option(options: dict[str, Any]) -> None:
    config = config_from_original({**SETTINGS, **options})
    source, target = Poolformer(config, 10), Poolformer(config, 10)
    load_original(target, arrays_of(source))
    for (name, expected), found in zip(source.named_parameters(), target.parameters(), strict=True):
        assert torch.equal(found, expected), name


def test_settings_that_are_left_out_have_the_authors_defaults() -> None:
    config = config_from_original({k: SETTINGS[k] for k in ("pool_temporal", "model_structure")})
    assert (config.width, config.pool_groups, config.dropout) == (64, 1, 0.2)
    assert config.temporal_convolution == {"name": "convolution", "kernel": 3, "groups": 1}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"frequency": 3}, ("frequency",)),
        ({"rnn": {"colour": "red"}}, ("rnn", "colour")),
        ({"rnn": {"block_type": "gru"}}, ("rnn", "block_type")),
        ({"rnn": {"pos_embedding": True}}, ("rnn", "pos_embedding")),
        ({"model_structure": [["mwa"], [], ["rglru"]]}, ("model_structure",)),
        ({"cls_head": ["conv"]}, ("cls_head",)),
        ({"input_transform": "fourier"}, ("input_transform",)),
        ({"norm": "batch"}, ("norm",)),
    ],
)
def test_a_setting_without_counterpart_is_refused_by_name(
    change: dict[str, Any], path: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_original({**SETTINGS, **change})
    assert caught.value.path == path


def test_missing_surplus_and_misshapen_arrays_are_named() -> None:
    model = Poolformer(config_from_original(SETTINGS), 10)
    arrays = arrays_of(model)
    without = {name: array for name, array in arrays.items() if name != "norm/scale"}
    with pytest.raises(HarnessError, match="missing norm/scale; not used none"):
        load_original(model, without)
    with pytest.raises(HarnessError, match="missing none; not used norm/shift"):
        load_original(model, {**arrays, "norm/shift": np.zeros(8)})
    with pytest.raises(HarnessError, match=r"norm/scale has shape \[9\]; .* needs \[8\]"):
        load_original(model, {**arrays, "norm/scale": np.zeros(9)})


def test_a_failed_load_changes_nothing() -> None:
    model = Poolformer(config_from_original(SETTINGS), 10)
    before = {name: value.copy() for name, value in arrays_of(model).items()}
    with pytest.raises(HarnessError):
        load_original(
            model, {name: array + 1 for name, array in before.items()} | {"norm/scale": np.zeros(9)}
        )
    assert all(np.array_equal(array, before[name]) for name, array in arrays_of(model).items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": (), "mixer": {"name": "attention", "heads": 2}}, "has no Attention"),
        ({"pooling": (2,), "pooling_kind": "average"}, "has no AverageDownPool"),
        ({"pooling": (2,), "skip": "both"}, "has no 'both' skip"),
        ({"pooling": (), "initialization": "constant"}, "has no constant scale of branches"),
    ],
)
def test_a_model_with_a_part_that_the_authors_do_not_have_is_refused(
    options: dict[str, Any], message: str
) -> None:
    config = PoolformerConfig(width=8, layers=1, **options)
    with pytest.raises(HarnessError, match=message):
        load_original(Poolformer(config), {})
