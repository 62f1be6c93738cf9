"""Mamba as whole models: the authors' stacks and Mamba in SaShiMi's U-Net."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from baselines.mamba import Mamba, Mamba2
from baselines.mamba_unet import MambaUNet
from baselines.unet_stages import FeedForward, Residual
from harness.configuration import build, parse
from harness.contracts import ParameterGroup
from harness.errors import ConfigError
from harness.training.config import TrainConfig
from models.scan.selective import selective_backend_for

STACKS = pytest.mark.parametrize("stack", [Mamba, Mamba2], ids=["mamba", "mamba2"])
MODELS = pytest.mark.parametrize("name", ["mamba", "mamba2", "mamba_unet"])


def model(cls: Any, vocab_size: int = 16, **options: Any) -> Any:
    torch.manual_seed(0)
    return cls(parse(cls.Config, options), vocab_size)


def preset_of(cls: Any, name: str) -> tuple[nn.Module, Any]:
    preset = cls.presets[name]
    with torch.device("meta"):
        return cls(parse(cls.Config, preset.config), preset.vocab_size), preset


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# -------------------------------------------------------------------------------------------- presets

COUNTS = {
    (Mamba, "paper"): 129_135_360,
    (Mamba, "370m"): 371_516_416,
    (Mamba, "790m"): 793_204_224,
    (Mamba, "1.4b"): 1_372_178_432,
    (Mamba, "2.8b"): 2_768_345_600,
    (Mamba2, "paper"): 128_983_488,
    (Mamba2, "370m"): 368_338_432,
    (Mamba2, "780m"): 780_148_992,
    (Mamba2, "1.3b"): 1_343_740_928,
    (Mamba2, "2.7b"): 2_702_579_200,
    (MambaUNet, "paper"): 6_260_224,
    (MambaUNet, "large"): 24_865_408,
    (MambaUNet, "youtube_mix"): 3_559_168,
}
"""Of the stacks those of the published weights."""


@pytest.mark.parametrize(("cls", "name"), COUNTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_preset_has_the_published_size_and_settings(cls: Any, name: str) -> None:
    found, preset = preset_of(cls, name)
    assert parameters(found) == COUNTS[cls, name]
    published = preset.parameters
    bound = 0.03 if cls is MambaUNet else 0.01  # of which the note says more
    assert published is None or parameters(found) == pytest.approx(published, rel=bound)
    assert preset.note or published is not None
    parse(TrainConfig, preset.train)


def test_every_preset_is_counted() -> None:
    named = {(cls, name) for cls in (Mamba, Mamba2, MambaUNet) for name in cls.presets}
    assert named == set(COUNTS)


def test_the_decays_are_what_the_published_u_net_is_smaller_by() -> None:
    """As the note of its presets says."""
    for name in ("paper", "large"):
        found, preset = preset_of(MambaUNet, name)
        decays = sum(p.numel() for key, p in found.named_parameters() if key.endswith("A_log"))
        assert parameters(found) - decays == pytest.approx(preset.parameters, rel=0.005)


def test_pairs_of_the_papers_table_have_roughly_as_many_parameters() -> None:
    s4 = {"name": "s4", "systems": 2}
    for outer, center in ((s4, "attention"), (s4, "mamba"), ("mamba", s4)):
        with torch.device("meta"):
            found = MambaUNet(parse(MambaUNet.Config, {"outer": outer, "center": center}))
        assert parameters(found) == pytest.approx(6e6, rel=0.05)


# ------------------------------------------------------------------------------------- initial values


@STACKS
def test_the_last_map_of_a_block_shrinks_with_depth(stack: Any) -> None:
    """nn.Linear's own values, uniform up to 1 / sqrt(E), divided by sqrt(n)."""
    for layers in (1, 16):
        found = model(stack, width=16, layers=layers)
        for block in found.blocks:
            weight = block.layer.out_proj.weight
            bound = 1 / math.sqrt(layers * weight.shape[1])
            assert 0.95 * bound < weight.abs().max().item() <= bound


@STACKS
def test_biases_start_at_zero_but_those_of_step_sizes_and_convolutions(stack: Any) -> None:
    found = model(stack, width=16, layers=2, mixer={"bias": True})
    zero = {n for n, p in found.named_parameters() if n.endswith("bias") and not p.any()}
    ends = ("in_proj.bias", "out_proj.bias")
    assert zero == {n for n, _ in found.named_parameters() if n.endswith(ends)} and len(zero) == 4


@STACKS
def test_the_head_is_the_table_unless_untied(stack: Any) -> None:
    tied, untied = model(stack, width=8, layers=1), model(stack, width=8, layers=1, tied=False)
    assert tied.head.weight is tied.table.weight
    assert tied.table.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert parameters(untied) - parameters(tied) == 8 * 16


@MODELS
def test_first_predictions_are_near_the_uniform_distribution(name: str) -> None:
    torch.manual_seed(0)
    found = build("models", {"name": name, "width": 32, "layers": 2}, vocab_size=256)
    tokens = torch.randint(256, (2, 64))
    loss = nn.functional.cross_entropy(found(tokens).flatten(0, 1), tokens.flatten())
    assert loss.item() == pytest.approx(math.log(256), rel=0.05)


# ----------------------------------------------------------------------------------------- optimisation


def names_of(module: nn.Module, group: ParameterGroup) -> set[str]:
    wanted = {id(p) for p in group.parameters}
    return {name.rpartition("layer.")[2] for name, p in module.named_parameters() if id(p) in wanted}


@pytest.mark.parametrize(
    ("name", "apart"),
    [
        ("mamba", {"A_log", "D", "dt_proj.bias", "conv1d.weight", "conv1d.bias"}),
        ("mamba2", {"A_log", "D", "dt_bias", "conv1d.weight", "conv1d.bias"}),
        ("mamba_unet", {"A_log", "D", "dt_proj.bias", "conv1d.weight", "conv1d.bias"}),
    ],
)
def test_dynamics_and_convolutions_do_not_decay(name: str, apart: set[str]) -> None:
    found = build("models", {"name": name, "width": 8, "layers": 2}, vocab_size=16)
    groups = found.optimizer_groups()
    assert not any(group.weight_decay for group in groups)
    assert {group.learning_rate_scale for group in groups} == {1.0}
    assert set().union(*(names_of(found, group) for group in groups)) == apart
    listed = [id(p) for group in groups for p in group.parameters]
    assert len(listed) == len(set(listed))


def test_s4_in_the_u_net_trains_at_a_rate_of_its_own() -> None:
    found = model(MambaUNet, width=4, layers=1, pooling=[2], outer="s4", ssm_learning_rate_scale=0.5)
    scales = {
        name: group.learning_rate_scale
        for group in found.optimizer_groups()
        for name in names_of(found, group)
    }
    assert scales["A_log"] == 1.0
    assert {scale for name, scale in scales.items() if name.endswith("log_step")} == {0.5}


# ---------------------------------------------------------------------------------------------- models


@STACKS
def test_the_first_prediction_is_after_silence(stack: Any) -> None:
    found, tokens = model(stack, width=8, layers=1).double(), torch.tensor([[3, 9]])
    _, states = found.initial_state(1)
    after_silence, _ = found.resume(tokens, (torch.tensor([8]), states))
    torch.testing.assert_close(found(tokens), after_silence)


@STACKS
@pytest.mark.parametrize("width", [1, 6, 37])
def test_widths_are_free(stack: Any, width: int) -> None:
    found = model(stack, width=width, layers=1, mixer={"state": 2})
    assert found(torch.zeros(1, 3, dtype=torch.long)).shape == (1, 3, 16)


def test_a_head_that_does_not_divide_the_channels_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        model(Mamba2, width=8, mixer={"head": 5})
    assert caught.value.path == ("mixer", "head")


def test_a_row_records_the_backends_of_the_scans() -> None:
    own = selective_backend_for("cpu")
    assert model(Mamba, width=8, layers=1).scan_backend == own
    assert model(Mamba2, width=8, layers=1).scan_backend == "products"
    both = model(MambaUNet, width=8, layers=1, pooling=[2], center="mamba2")
    assert both.scan_backend == f"{own}, products"
    assert model(MambaUNet, width=8, layers=1, pooling=[2], outer="s4", center="s4").scan_backend == "steps"


@STACKS
def test_a_scan_that_is_not_there_is_not_replaced(stack: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    found = model(stack, width=8, layers=1, mixer={"scan": "mamba-ssm"})
    with pytest.raises(ValueError, match="it needs a CUDA device"):
        found(torch.zeros(1, 3, dtype=torch.long))


# ------------------------------------------------------------------------------------------- the U-Net


def layers_of(found: nn.Module) -> list[str]:
    return [type(block.layer).__name__ for block in found.modules() if isinstance(block, Residual)]


def test_the_published_model_has_forty_blocks_of_mamba_and_nothing_else() -> None:
    found, _ = preset_of(MambaUNet, "paper")
    assert layers_of(found) == ["Mamba"] * 40


def test_outer_and_center_blocks_are_free() -> None:
    found = model(MambaUNet, width=8, layers=1, pooling=[2, 2], outer="s4", center="attention")
    assert sorted(layers_of(found)) == sorted(["S4", "FeedForward"] * 4 + ["Attention", "FeedForward"])


@pytest.mark.parametrize(
    ("mixer", "expand", "hidden"),
    [("s4", None, 16), ("attention", None, 8), ("mamba", None, 0), ("mamba", 3, 24), ("s4", 0, 0)],
)
def test_an_mlp_follows_where_the_mixer_does_not_expand(mixer: str, expand: int | None, hidden: int) -> None:
    found = model(MambaUNet, width=8, layers=1, pooling=[], center=mixer, center_expand=expand)
    widths = [part.input.out_features for part in found.modules() if isinstance(part, FeedForward)]
    assert widths == ([hidden] if hidden else [])


def test_options_that_do_not_fit_are_named_with_their_place() -> None:
    with pytest.raises(ConfigError) as caught:
        model(MambaUNet, width=6, center={"name": "attention", "heads": 5})
    assert caught.value.path == ("center", "heads")
    with pytest.raises(ConfigError) as caught:
        model(MambaUNet, outer_expand=-1)
    assert caught.value.path == ("outer_expand",)
