"""xLSTM and RWKV-7: where their blocks stand, what their layers share, how they start."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.rwkv7 import RWKV7
from baselines.xlstm import XLSTM
from harness.configuration import parse
from harness.errors import ConfigError
from models.mixers.slstm import SLSTM


def xlstm(**options: Any) -> XLSTM:
    torch.manual_seed(0)
    return XLSTM(parse(XLSTM.Config, {"width": 8, **options}), 16)


def rwkv7(**options: Any) -> RWKV7:
    torch.manual_seed(0)
    return RWKV7(parse(RWKV7.Config, {"width": 8, "layers": 3, **options}), 16)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# --------------------------------------------------------------------------------------------- xLSTM


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"layers": 8}, "mSmmmmmm"),
        ({"layers": 16}, "mSmmmmmmmSmmmmmm"),
        ({"layers": 5, "ratio": [1, 1]}, "mSmSm"),
        ({"layers": 4, "ratio": [1, 0]}, "mmmm"),
        ({"layers": 3, "ratio": [0, 1]}, "SSS"),
        ({"layers": 6, "ratio": [1, 2]}, "mSSmSS"),
        ({"layers": 4, "slstm_at": [0, 3]}, "SmmS"),
        ({"layers": 2, "slstm_at": []}, "mm"),
    ],
)
def test_blocks_of_slstm_stand_where_the_ratio_or_the_places_say(options: dict[str, Any], kinds: str) -> None:
    blocks = xlstm(**options).blocks
    assert "".join("S" if isinstance(block.mixer, SLSTM) else "m" for block in blocks) == kinds


def test_blocks_of_slstm_alone_have_an_mlp() -> None:
    model = xlstm(layers=2, ratio=[1, 1], width=16)
    assert model.blocks[0].mlp is None
    assert model.blocks[1].mlp.down.in_features == 24  # 1.3 times 16, up to a multiple of 8


def test_last_maps_of_branches_start_smaller_the_more_blocks_there_are() -> None:
    model = xlstm(layers=4, width=128, slstm_at=[1])
    for linear in (model.blocks[0].mixer.down, model.blocks[1].mlp.down):
        assert linear.weight.std().item() == pytest.approx(2 / 4 / math.sqrt(128), rel=0.05)


def test_forget_gates_of_deeper_blocks_of_slstm_start_otherwise() -> None:
    first, _, last = (block.mixer.bias[1, :4] for block in xlstm(layers=3, width=16, ratio=[0, 1]).blocks)
    assert first[1] < last[1] and first[0] == last[0] == 5


def test_neither_the_table_nor_the_biases_of_slstm_decay() -> None:
    model = xlstm(layers=2, ratio=[1, 1])
    (group,) = model.optimizer_groups()
    assert not group.weight_decay
    expected = {id(model.table.weight), id(model.blocks[1].mixer.bias)}
    assert {id(parameter) for parameter in group.parameters} == expected


# -------------------------------------------------------------------------------------------- RWKV-7


def test_at_first_no_branch_adds_anything() -> None:
    model, tokens = rwkv7(), torch.randint(16, (1, 9))
    previous = F.pad(tokens[:, :-1], (1, 0), value=8)
    expected = model.head(model.norm(model.table_norm(model.table(previous))))
    torch.testing.assert_close(model(tokens), expected)


def test_values_of_the_first_layer_reach_all_others_and_no_other_does() -> None:
    """Nothing but the values is changed in a layer: only the blend of the layers after it can tell."""

    def layers_that_know(changed: int) -> list[bool]:
        model, seen = rwkv7(), []
        with torch.no_grad():
            for block in model.blocks:
                block.mixer.blend and block.mixer.blend.bias.fill_(1.0)
            before = values_of(model)
            model.blocks[changed].mixer.value.weight.add_(1)
            for layer, (old, new) in enumerate(zip(before, values_of(model), strict=True)):
                seen.append(layer > changed and not torch.equal(old, new))
        return seen

    def values_of(model: RWKV7) -> list[torch.Tensor]:
        found, x, first = [], torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(1)), None
        for block in model.blocks:
            _, _, values = block.mixer.mix(x, None, first)
            first = values if first is None else first
            found.append(values)
        return found

    assert layers_that_know(0) == [False, True, True]
    assert layers_that_know(1) == [False, False, False]


def test_the_first_layer_has_no_blend() -> None:
    blends = [block.mixer.blend for block in rwkv7().blocks]
    assert blends[0] is None and None not in blends[1:]


@pytest.mark.parametrize(
    ("layers", "width", "vocab_size"), [(12, 768, 65_536), (24, 1024, 65_536), (2, 64, 256)]
)
def test_it_has_as_many_parameters_as_the_papers_formula_says(
    layers: int, width: int, vocab_size: int
) -> None:
    config = parse(RWKV7.Config, {"width": width, "layers": layers})
    with torch.device("meta"):
        model = RWKV7(config, vocab_size)
    mixer = model.blocks[1].mixer
    decay, rate, blend, gate = (
        part.down.out_features for part in (mixer.decay, mixer.rate, mixer.blend, mixer.gate)
    )
    in_layers = layers * width * (12 * width + 2 * (decay + rate + blend + gate) + 19)
    without_blend = 2 * width * blend + width
    assert count(model) == 2 * width * vocab_size + 4 * width + in_layers - without_blend


def test_decays_learn_twice_as_fast_and_only_matrices_decay() -> None:
    model = rwkv7()
    decays, rest = model.optimizer_groups()
    assert (decays.learning_rate_scale, rest.learning_rate_scale) == (2.0, 1.0)
    assert not decays.weight_decay and not rest.weight_decay
    assert {id(p) for p in decays.parameters} == {id(block.mixer.decay.bias) for block in model.blocks}
    named = {id(p): name for name, p in model.named_parameters() if p.ndim >= 2}
    decaying = [named[key] for key in set(named) - {id(p) for p in (*decays.parameters, *rest.parameters)}]
    ends = {name.split(".", 2)[-1] for name in decaying if name.startswith("blocks")}
    matrices = {f"mixer.{name}.weight" for name in ("receptance", "key", "value", "output")}
    assert ends == matrices | {"mlp.key.weight", "mlp.value.weight"}


# --------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize("build", [xlstm, rwkv7])
def test_it_learns_to_copy_from_three_steps_back(build: Any) -> None:
    model = build(width=32, layers=2, **({"ratio": [1, 1]} if build is xlstm else {})).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        tokens = torch.randint(8, (16, 3)).repeat(1, 4)
        loss = F.cross_entropy(model(tokens)[:, 3:].flatten(0, 1), tokens[:, 3:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * math.log(8)


@pytest.mark.parametrize("build", [xlstm, rwkv7])
def test_under_autocast_it_trains_and_is_close_to_full_precision(build: Any) -> None:
    model, tokens = build(width=32, layers=2), torch.randint(16, (2, 70))
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    expected = model(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(tokens)
    found.float().square().mean().backward()
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("build", "options", "path"),
    [
        (xlstm, {"width": 0}, ("width",)),
        (xlstm, {"layers": 0}, ("layers",)),
        (xlstm, {"ratio": [0, 0]}, ("ratio",)),
        (xlstm, {"slstm_at": [8]}, ("slstm_at",)),
        (xlstm, {"feed_forward": 0.0}, ("feed_forward",)),
        (xlstm, {"width": 10, "mlstm": {"heads": 2}}, ("slstm", "heads")),
        (xlstm, {"width": 10, "mlstm": {"heads": 3}}, ("mlstm", "heads")),
        (rwkv7, {"expand": 0}, ("expand",)),
        (rwkv7, {"dropout": 1.0}, ("dropout",)),
        (rwkv7, {"mixer": {"head": 3}}, ("mixer", "head")),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_where_it_stands(
    build: Any, options: dict[str, Any], path: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        build(**options)
    assert refusal.value.path == path
