"""Presets of the recurrent baselines: the published size, within a hundredth, or a note that says why not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness import registry
from harness.configuration import parse
from harness.contracts import Preset

MODULES = ("isotropic", "xlstm", "rwkv7", "harmonic_rnn", "griffin")
PRESETS = [
    pytest.param(registry.get("models", name), preset, id=f"{name}-{label}")
    for name in registry.names("models")
    if registry.origin("models", name).partition(":")[0].removeprefix("baselines.") in MODULES
    for label, preset in getattr(registry.get("models", name), "presets", {}).items()
]


def test_those_that_were_published_at_a_size_have_it_as_their_paper_preset() -> None:
    papers = {str(case.id).removesuffix("-paper") for case in PRESETS if str(case.id).endswith("-paper")}
    assert papers == {"gated_delta_net", "griffin", "harmonic_rnn", "hawk", "rwkv7", "s4", "s5", "xlstm"}


@pytest.mark.parametrize(("model", "preset"), PRESETS)
def test_a_preset_has_the_published_size_or_says_why_not(model: Any, preset: Preset) -> None:
    assert preset.source
    with torch.device("meta"):
        built = model(parse(model.Config, preset.config), preset.vocab_size)
    count = sum(p.numel() for p in built.parameters())
    if preset.parameters is None or abs(count / preset.parameters - 1) > 0.01:
        assert preset.note
