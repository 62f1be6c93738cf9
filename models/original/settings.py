"""The authors' hyper-parameters as a configuration of ours."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from operator import mul
from typing import Any

from harness.configuration import parse
from harness.errors import ConfigError
from models.embedding import EmbeddingName
from models.poolformer import PoolformerConfig


def config_from_original(hyper_parameters: Mapping[str, Any]) -> PoolformerConfig:
    """Our configuration of the authors' hyper-parameters; what they leave out has the authors' default.

    Raises: ConfigError naming a setting that is unknown or has no counterpart here.
    """
    left = {**_AUTHORS_DEFAULTS, **hyper_parameters}
    left.pop("mwa_heads"), left.pop("mwa_window_size")  # of a layer kind that is refused below
    recurrent = {**_AUTHORS_RECURRENCE, **left.pop("rnn")}
    if list(left.pop("cls_head")):
        raise ConfigError("cls_head", "blocks in the head are not supported")
    for name in ("model_structure", "pool_temporal"):
        if name not in left:
            raise ConfigError(name, "is missing from the original's settings")
    structure = [list(level) for level in left.pop("model_structure")]
    growth = list(left.pop("pool_features", [1] * len(structure)))[: len(structure) - 1]
    kernel = {"kernel": left.pop("conv_kernel_size"), "groups": left.pop("conv_feature_group_count")}
    convolution = {"name": "convolution", **kernel}
    embedding = _EMBEDDINGS.get(left.pop("input_transform"))
    if embedding is None:
        raise ConfigError("input_transform", f"must be one of {', '.join(_EMBEDDINGS)}")
    options = {
        "width": left.pop("base_dim"),
        "pooling": list(left.pop("pool_temporal"))[: len(structure) - 1],
        "layers": [len(level) for level in structure],
        "mixer": _level_mixers(structure, convolution, recurrent, growth),
        "temporal_convolution": convolution if left.pop("use_temporal_cnn") else None,
        "expand": left.pop("ff_expand"),
        "widening": growth,
        "down_layers": None if left.pop("unet") else 0,
        "gating": left.pop("use_gating"),
        "norm": left.pop("norm"),
        "embedding": embedding,
        "pool_groups": None if left.pop("conv_pooling") else 1,
        "dropout": left.pop("dropout_rate"),
    }
    _refuse_what_is_left(left)
    return parse(PoolformerConfig, options)


_EMBEDDINGS: dict[str, EmbeddingName] = {"sine": "sinusoidal", "embed": "table", "mlp": "mlp"}
_AUTHORS_DEFAULTS: dict[str, Any] = {
    "ff_expand": 2,
    "conv_kernel_size": 3,
    "conv_feature_group_count": 1,
    "norm": "layer",
    "use_gating": True,
    "input_transform": "sine",
    "unet": True,
    "use_temporal_cnn": True,
    "conv_pooling": False,
    "dropout_rate": 0.2,
    "base_dim": 64,
    "cls_head": [],
    "mwa_heads": 4,
    "mwa_window_size": 64,
    "rnn": {},
}
_AUTHORS_RECURRENCE: dict[str, Any] = {
    "block_type": "rglru",
    "d_hidden": 256,
    "only_real": False,
    "input_norm": True,
    "pos_embedding": False,
    "n_diag_blocks": 32,
    "log_a_scale": -8.0,
    "init_minval_real": 0.9,
    "init_maxval_real": 0.99,
    "init_maxval_imag": 0.1,
    "adaptive_phase": False,
    "adaptive_d": False,
}


def _level_mixers(
    structure: list[list[str]], convolution: Mapping[str, Any], recurrent: dict[str, Any], growth: list[int]
) -> list[list[Mapping[str, Any]]]:
    """The mixer of each layer of each level; a recurrence may widen with its level."""
    adaptive = recurrent.pop("adaptive_d")
    scales = [*accumulate(growth, mul, initial=1)] if adaptive else [1] * len(structure)
    levels = []
    for kinds, scale in zip(structure, scales, strict=True):
        recurrence = _recurrent_mixer({**recurrent, "d_hidden": scale * recurrent["d_hidden"]})
        available = {"conv": convolution, "rglru": recurrence}
        for kind in kinds:
            if kind not in available:
                raise ConfigError("model_structure", f"the layer kind {kind!r} is not supported")
        levels.append([available[kind] for kind in kinds])
    return levels


def _recurrent_mixer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The mixer that their recurrence of these settings is."""
    left = dict(settings)
    left.pop("scan_implementation", None)  # how, not what
    if left.pop("pos_embedding"):
        raise ConfigError(("rnn", "pos_embedding"), "is not supported")
    kind = left.pop("block_type")
    mixer = {"hidden": left.pop("d_hidden"), "normalize_input": left.pop("input_norm")}
    radii = left.pop("init_minval_real"), left.pop("init_maxval_real")
    ring = {
        "complex": not left.pop("only_real"),
        "c": -left.pop("log_a_scale"),
        "min_radius": radii[0],
        "max_radius": radii[1],
        "max_phase": left.pop("init_maxval_imag"),
        "adaptive_phase": left.pop("adaptive_phase"),
    }
    blocks = left.pop("n_diag_blocks")
    _refuse_what_is_left(left, "rnn")
    if kind == "rglru":
        return {"name": "rg_lru", **mixer, **ring, "blocks": blocks}
    if kind == "lru":
        return {"name": "lru", **mixer, **ring}
    if kind == "rnn":
        return {"name": "diagonal_rnn", **mixer, "min_decay": radii[0], "max_decay": radii[1]}
    raise ConfigError(("rnn", "block_type"), f"the recurrence {kind!r} is not supported")


def _refuse_what_is_left(left: Mapping[str, Any], *path: str) -> None:
    for name in sorted(left):
        raise ConfigError((*path, name), "is not a setting of the original that is known here")
