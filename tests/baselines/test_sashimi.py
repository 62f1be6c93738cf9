"""SaShiMi: its published sizes, what trains apart, long clips in chunks, and it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from baselines.sashimi import SaShiMi, SaShiMiConfig
from harness.configuration import parse
from harness.contracts import counting_flops
from harness.errors import ConfigError
from harness.training.config import TrainConfig

SMALL: dict[str, Any] = {"width": 8, "layers": 1, "pooling": [2, 2], "s4": {"state": 8, "systems": 1}}
COUNTS = {  # in millions, obtained from the authors' code
    "paper": "4.07",
    "paper_2_layers": "1.29",
    "sc09": "4.76",
    "untied": "5.45",
    "unet": "6.84",
    "unet_2_systems": "5.87",
}


def sashimi(vocab_size: int = 16, **options: Any) -> SaShiMi:
    torch.manual_seed(0)
    return SaShiMi(parse(SaShiMiConfig, SMALL | options), vocab_size)


def preset_of(name: str) -> tuple[SaShiMi, Any]:
    preset = SaShiMi.presets[name]
    with torch.device("meta"):
        return SaShiMi(parse(SaShiMiConfig, preset.config), preset.vocab_size), preset


def parameters(model: SaShiMi) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_a_preset_has_as_many_parameters_as_the_original(name: str) -> None:
    model, preset = preset_of(name)
    assert f"{parameters(model) / 1e6:.2f}" == COUNTS[name]
    published = preset.parameters
    assert published is None or parameters(model) == pytest.approx(published, rel=0.01) or preset.note
    parse(TrainConfig, {"steps": 1, **preset.train})


def test_every_preset_is_counted() -> None:
    assert COUNTS.keys() == SaShiMi.presets.keys()


@pytest.mark.parametrize(("layers", "count"), [(4, "2.22"), (6, "3.14")])
def test_the_paper_has_shallower_ones(layers: int, count: str) -> None:
    config = {**SaShiMi.presets["paper"].config, "layers": layers}
    with torch.device("meta"):
        model = SaShiMi(parse(SaShiMiConfig, config))
    assert f"{parameters(model) / 1e6:.2f}" == count


def test_state_spaces_train_at_a_rate_of_their_own_without_decay() -> None:
    model = sashimi(ssm_learning_rate_scale=0.25)
    (group,) = model.optimizer_groups()
    assert group.learning_rate_scale == 0.25 and not group.weight_decay
    apart = {name for name, p in model.named_parameters() if any(p is q for q in group.parameters)}
    assert {name.rpartition(".")[2] for name in apart} == {"log_step", "log_decay", "frequency", "p", "b"}
    assert len(apart) == 5 * 3  # an S4 layer at the center, and one at each level


@torch.no_grad()
def test_a_long_clip_in_chunks_gives_what_the_whole_gives() -> None:
    model, tokens = sashimi(s4={"state": 64}).double().eval(), torch.randint(16, (1, 700))
    state, outputs = model.initial_state(1), []
    for chunk in tokens.split(256, dim=1):
        logits, state = model.resume(chunk, state)
        outputs.append(logits)
    torch.testing.assert_close(torch.cat(outputs, dim=1), model(tokens), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("length", [3, 64])
def test_every_product_is_counted_once_on_every_device(length: int) -> None:
    counts = []
    for device in ("cpu", "meta"):
        model = sashimi().to(device)
        tokens = torch.zeros(2, length, dtype=torch.long, device=device)
        with counting_flops() as told, FlopCounterMode(display=False) as counter, torch.no_grad():
            model(tokens)
        counts.append(counter.get_total_flops() + told.count)
    assert counts[0] == pytest.approx(counts[1])


def test_it_says_how_its_kernels_are_made() -> None:
    assert sashimi().scan_backend == "steps" and SaShiMi.kernels() == {"native krylov": None}
    assert sashimi(s4={"state": 8, "algorithm": "cauchy"}).scan_backend == "cauchy"
    with torch.device("meta"):
        assert sashimi().scan_backend == "powers"


def test_under_autocast_it_runs_and_states_stay_in_float32() -> None:
    model, tokens = sashimi().eval(), torch.randint(16, (2, 12))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        logits, state = model.resume(tokens, model.initial_state(2))
        model.step(None, state)
    torch.testing.assert_close(logits.float(), model(tokens), rtol=0.2, atol=0.2)
    assert state["backbone"][1].dtype == torch.float32


@pytest.mark.parametrize("layout", [{}, {"unet": True}, {"expand": 0, "s4": {"state": 8, "glu": False}}])
def test_it_learns_to_copy_from_three_steps_back(layout: dict[str, Any]) -> None:
    model = sashimi(vocab_size=8, width=32, pooling=[2], **layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        tokens = torch.randint(8, (16, 3)).repeat(1, 4)
        loss = F.cross_entropy(model(tokens)[:, 3:].flatten(0, 1), tokens[:, 3:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * math.log(8)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"expand": -1}, ("expand",)),
        ({"width": 9, "s4": {"systems": 2}}, ("width",)),
        ({"s4": {"state": 7}}, ("s4", "state")),
        ({"s4": {"systens": 2}}, ("s4", "systens")),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(
    options: dict[str, Any], path: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(SaShiMiConfig, options)
    assert refusal.value.path == path
