"""Attention in SaShiMi's U-Net: windows outside the center, heads of one width, linear work."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from baselines.transformer_unet import TransformerUNet, TransformerUNetConfig
from baselines.unet_stages import Residual
from harness.configuration import parse
from harness.errors import ConfigError
from harness.evaluation.flop_counter import FlopCounter
from models.mixers.attention import Attention


def unet(**options: Any) -> TransformerUNet:
    torch.manual_seed(0)
    options = {"width": 8, "layers": 1, "pooling": (2, 3), "heads": 2, "window": 5, **options}
    return TransformerUNet(TransformerUNetConfig(**options), 32).double().eval()


def attentions(model: TransformerUNet) -> list[Attention]:
    return [module for module in model.modules() if isinstance(module, Attention)]


def test_the_center_sees_all_and_the_other_rates_a_window() -> None:
    assert [layer.window for layer in attentions(unet())].count(None) == 1
    assert {layer.window for layer in attentions(unet(center_window=7))} == {5, 7}


def test_heads_are_as_wide_at_all_rates() -> None:
    assert {layer.input.in_features // layer.heads for layer in attentions(unet())} == {4}


def test_chunks_are_the_whole_wherever_they_are_cut() -> None:
    model, tokens = unet(), torch.randint(32, (2, 41))
    whole = model(tokens)
    for cut in (6, 13, 40):
        head, state = model.resume(tokens[:, :cut], model.initial_state(2))
        tail, _ = model.resume(tokens[:, cut:], state)
        torch.testing.assert_close(torch.cat((head, tail), dim=1), whole, rtol=1e-10, atol=1e-11)


def test_windows_everywhere_make_the_work_linear_in_the_length() -> None:
    def work(length: int) -> float:
        model = unet(window=20, center_window=20).to("meta")
        with FlopCounter() as counter, torch.no_grad():
            model(torch.zeros(1, length, dtype=torch.long, device="meta"))
        return counter.total

    assert work(2400) == pytest.approx(8 * work(300), rel=0.1)


def test_blocks_have_the_weights_that_the_paper_budgets_for_them() -> None:
    preset = TransformerUNet.presets["paper"]
    with torch.device("meta"):
        model = TransformerUNet(parse(TransformerUNetConfig, preset.config), preset.vocab_size)
    widths = [layer.input.in_features for layer in attentions(model)]
    assert len(widths) == 5 * 8
    blocks = [module for module in model.modules() if isinstance(module, Residual)]
    matrices = [p for block in blocks for p in block.parameters() if p.ndim == 2]
    assert sum(p.numel() for p in matrices) == sum(4 * width**2 + 2 * width**2 for width in widths)
    assert round(sum(p.numel() for p in model.parameters()) / 1e5) == 55
    assert preset.note.startswith("5.5 M parameters")


@pytest.mark.parametrize(
    ("options", "field"),
    [({"width": 30}, "heads"), ({"window": 0}, "window"), ({"center_window": 0}, "center_window")],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        TransformerUNetConfig(**options)
    assert refusal.value.path == (field,)
