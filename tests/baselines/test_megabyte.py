"""MEGABYTE: what a token sees, when the global model runs, exact chunks and steps, the published size."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.megabyte import MegaByte, MegaByteConfig
from harness.configuration import parse
from harness.errors import ConfigError
from harness.evaluation.flop_counter import FlopCounter

few = settings(max_examples=12, deadline=None)


def megabyte(vocab_size: int = 32, **options: Any) -> MegaByte:
    torch.manual_seed(0)
    options = {
        "width": 12,
        "patch": 3,
        "layers": 1,
        "heads": 2,
        "local_layers": 1,
        "local_heads": 1,
        **options,
    }
    return MegaByte(MegaByteConfig(**options), vocab_size).double().eval()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


def test_it_is_the_pseudocode_of_the_paper() -> None:
    """Tokens before the first patch and the first token of a patch are learned vectors."""
    model, tokens = megabyte(), torch.randint(32, (2, 12))
    read = model.global_table(tokens[:, :-3]).reshape(2, 3, 12)
    h = model.global_model(torch.cat((model.global_start.expand(2, 1, 12), read), dim=1))
    expected = []
    for patch in range(4):
        parts = model.global_norm(h[:, patch]).reshape(2, 3, 4) @ model.projection.weight.T
        before = model.local_table(tokens[:, 3 * patch : 3 * patch + 2])
        before = torch.cat((model.local_start.expand(2, 1, -1), before), dim=1)
        expected.append(model.head(model.local_norm(model.local_model(parts + before))))
    close(model(tokens), torch.cat(expected, dim=1))


@given(patches=st.integers(1, 4), rest=st.integers(1, 11), patch=st.integers(2, 4), window=st.integers(0, 3))
@few
def test_a_clip_may_be_cut_after_whole_patches_and_continued_in_either_way(
    patches: int, rest: int, patch: int, window: int
) -> None:
    model, cut = megabyte(patch=patch, width=24, window=window or None), patch * patches
    tokens = torch.randint(32, (2, cut + rest))
    with torch.no_grad():
        whole = model(tokens)
        head, state = model.resume(tokens[:, :cut], model.initial_state(2))
        tail, end = model.resume(tokens[:, cut:], state)
        close(torch.cat((head, tail), dim=1), whole)
        assert (end is None) == bool(rest % patch)
        for t in range(cut, cut + rest):
            logits, state = model.step(None if t == cut else tokens[:, t - 1], state)
            close(logits, whole[:, t])


def test_the_global_model_runs_once_a_patch() -> None:
    model, ran = megabyte(), []
    model.global_model.blocks[0].mlp.register_forward_hook(lambda *_: ran.append(1))
    state, token = model.initial_state(1), None
    with torch.no_grad():
        for _ in range(9):
            _, state = model.step(token, state)
            token = torch.tensor([3])
    assert len(ran) == 3


def test_a_window_of_patches_makes_the_work_linear_in_the_length() -> None:
    def work(length: int) -> float:
        with FlopCounter() as counter, torch.no_grad():
            megabyte(window=20).to("meta")(torch.zeros(1, length, dtype=torch.long, device="meta"))
        return counter.total

    assert work(4800) == pytest.approx(8 * work(600), rel=0.1)


def test_the_local_model_is_half_as_wide_unless_it_is_said() -> None:
    assert MegaByteConfig(width=128).inner_width == 64
    assert MegaByteConfig(width=24, local_heads=1, heads=1).inner_width == 12
    assert MegaByteConfig(width=128, local_width=96).inner_width == 96


def test_the_published_model_is_as_large_as_its_note_says() -> None:
    preset = MegaByte.presets["paper"]
    with torch.device("meta"):
        model = MegaByte(parse(MegaByteConfig, preset.config), preset.vocab_size)
    millions = round(sum(p.numel() for p in model.parameters()) / 1e6)
    assert preset.note.startswith(f"{millions} M parameters")


def test_it_learns_to_copy_from_the_patch_before() -> None:
    torch.manual_seed(0)
    model = MegaByte(MegaByteConfig(width=48, patch=3, layers=1, local_layers=1, local_heads=2), vocab_size=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(100):
        tokens = torch.randint(8, (16, 6)).repeat(1, 3)
        loss = F.cross_entropy(model(tokens)[:, 6:].flatten(0, 1), tokens[:, 6:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * math.log(8)


def test_a_state_of_step_is_not_resumed_as_it_lacks_a_token() -> None:
    model = megabyte()
    _, state = model.step(None, model.initial_state(1))
    with pytest.raises(ValueError, match="lacks the last token"):
        model.resume(torch.zeros(1, 3, dtype=torch.long), state)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"width": 36}, "width"),
        ({"width": 24, "heads": 5}, "heads"),
        ({"local_width": 30}, "local_heads"),
        ({"patch": 1}, "patch"),
        ({"window": 0}, "window"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        MegaByteConfig(**options)
    assert refusal.value.path == (field,)
