"""The reference transformer: exact generation, exact FLOPs, a start near ignorance, and it learns."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.decoder_stack import CACHE_BLOCK, rotate
from baselines.transformer import Transformer, TransformerConfig
from harness.errors import ConfigError
from harness.evaluation.flop_counter import FlopCounter

SMALL = TransformerConfig(width=16, layers=2, heads=2)


def transformer(config=SMALL, seed=0, **options):
    torch.manual_seed(seed)
    return Transformer(config, **options).eval()


def generate(model, tokens):
    state, token, logits, states = model.initial_state(len(tokens)), None, [], []
    for t in range(tokens.shape[1]):
        one, state = model.step(token, state)
        logits.append(one)
        states.append(state)
        token = tokens[:, t]
    return torch.stack(logits, 1), states


@torch.no_grad()
def test_generation_equals_forward_in_double_precision_beyond_several_blocks_of_the_cache():
    model, tokens = transformer().double(), torch.randint(256, (2, 2 * CACHE_BLOCK + 40))
    logits, _ = generate(model, tokens)
    # the rotation's angles are float32 in both
    torch.testing.assert_close(logits, model(tokens), rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_cache_is_written_in_place_and_copied_once_a_block():
    model = transformer()
    _, states = generate(model, torch.randint(256, (1, CACHE_BLOCK + 3)))
    caches = [cache for _, cache in states]
    storages = [cache.data_ptr() for cache, _ in caches]
    assert len(set(storages)) == 2
    assert len(set(storages[:CACHE_BLOCK])) == 1
    for length in (1, CACHE_BLOCK, CACHE_BLOCK + 1):
        cache, filled = caches[length - 1]
        assert filled == length
        assert cache.untyped_storage().nbytes() == model.state_size(1, length)
    _, (cache, filled) = model.initial_state(1)
    assert cache.numel() == filled == 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("length", [1, 64, 100])
def test_each_product_is_counted_once_on_every_device(length, device):
    config = TransformerConfig(width=32, layers=3, heads=4)
    with torch.device(device):
        model, tokens = Transformer(config, vocab_size=256), torch.zeros(2, length, dtype=torch.long)
    with FlopCounter() as counter, torch.no_grad():
        model(tokens)
    D, H = config.width, config.hidden
    matrices = config.layers * (3 * D * D + D * D + 3 * D * H) + D * 256
    attention = config.layers * 4 * length * length * D
    assert counter.total == 2 * (2 * length * matrices + attention)


def test_parameters_are_those_of_the_layout():
    config = TransformerConfig(width=128, layers=6, heads=4)
    assert config.hidden == 344  # 8/3 of 128, to a multiple of 8
    block = 4 * 128**2 + 3 * 128 * 344 + 2 * 128
    assert sum(p.numel() for p in Transformer(config).parameters()) == 6 * block + 2 * 256 * 128 + 128


@pytest.mark.parametrize("width", [16, 64, 256])
def test_predictions_start_near_the_uniform_distribution_at_any_width(width):
    model, tokens = (
        transformer(TransformerConfig(width=width, layers=4, heads=2)),
        torch.randint(256, (4, 64)),
    )
    with torch.no_grad():
        loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
    assert loss == pytest.approx(math.log(256), abs=0.1)


def test_the_first_prediction_is_after_silence():
    model = transformer()
    first = model(torch.tensor([[3]]))[0, 0]
    second = model(torch.tensor([[128, 3]]))[0, 1]  # the start token again: attention over two equals
    torch.testing.assert_close(first, second)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5000), st.integers(0, 200), st.integers(0, 2**31))
def test_rotated_products_depend_on_the_distance_alone(place, distance, seed):
    model = transformer()
    query, key = torch.randn(2, 8, generator=torch.Generator().manual_seed(seed))

    def product(first, second):
        one = torch.zeros(1, 1, 16)
        turned = rotate(query[None], model.body._rotation(first, one))
        return (turned * rotate(key[None], model.body._rotation(second, one))).sum()

    near = product(distance, 0)
    torch.testing.assert_close(product(place + distance, place), near, rtol=0, atol=1e-4)


def test_it_learns_to_copy_from_far_back():
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(width=32, layers=2, heads=2), vocab_size=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(120):
        tokens = torch.randint(8, (16, 8)).repeat(1, 3)
        loss = F.cross_entropy(model(tokens)[:, 8:].flatten(0, 1), tokens[:, 8:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * math.log(8)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"width": 30, "heads": 4}, "heads"),
        ({"width": 12, "heads": 4}, "heads"),
        ({"layers": 0}, "layers"),
        ({"dropout": 1.0}, "dropout"),
        ({"expand": 0.0}, "expand"),
        ({"rope_base": 1.0}, "rope_base"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(options, field):
    with pytest.raises(ConfigError) as refusal:
        TransformerConfig(**options)
    assert refusal.value.path == (field,)
