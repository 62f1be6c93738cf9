"""The input embeddings, and a dropout that is faster than torch's."""

from __future__ import annotations

import math

import pytest
import torch

from models.dropout import Dropout
from models.embedding import ScalarEmbedding, SinusoidalEmbedding, TableEmbedding, build_embedding


def test_the_sinusoidal_table_is_exact_in_whatever_precision_the_model_ends_up_in() -> None:
    module = SinusoidalEmbedding(256, 16).half().double()
    expected = math.cos(255 * 10_000 ** (-3 / 8)), math.sin(255 * 10_000 ** (-3 / 8))
    row = module(torch.tensor(255))
    assert (row[3].item(), row[11].item()) == pytest.approx(expected, abs=1e-13)
    assert not list(module.parameters()) and not module.state_dict()


def test_a_sinusoidal_table_made_without_memory_is_filled_when_it_gets_some() -> None:
    with torch.device("meta"):
        module = SinusoidalEmbedding(8, 4)
    torch.testing.assert_close(module.to_empty(device="cpu").table, SinusoidalEmbedding(8, 4).table)


def test_a_sinusoidal_table_without_memory_may_be_larger_than_any_memory() -> None:
    with torch.device("meta"):
        module = SinusoidalEmbedding(256, 10**12)
    assert module.to("meta").table.shape == (256, 10**12)


def test_the_scalar_embedding_is_linear_in_the_scaled_value() -> None:
    module = ScalarEmbedding(256, 6)
    expected = module.linear.bias + module.linear.weight[:, 0] * (2 * 64 / 256 - 1)
    torch.testing.assert_close(module(torch.tensor([64]))[0], expected)


def test_learned_embeddings_start_with_the_original_variances() -> None:
    torch.manual_seed(0)
    assert TableEmbedding(256, 64).weight.var().item() == pytest.approx(1 / 64, rel=0.05)
    scalar = ScalarEmbedding(256, 4096).linear
    assert scalar.weight.var().item() == pytest.approx(1, rel=0.1)
    assert scalar.bias.var().item() == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize("name", ["sinusoidal", "table", "mlp"])
def test_every_embedding_adds_an_axis_of_the_width(name: str) -> None:
    assert build_embedding(name, 10, 6)(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3, 6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_the_asked_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(3, 100_001, requires_grad=True)
    y = Dropout(p)(x)
    share = (y == 0).double().mean().item()
    assert share == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / x.numel()))
    assert y.detach().unique().tolist() == pytest.approx([0.0, 1 / (1 - p)])
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())


def test_dropout_treats_neighbours_independently() -> None:
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(400_000)) == 0).double() - 0.5
    for distance in (1, 2, 3, 4):
        correlation = 4 * (dropped[distance:] * dropped[:-distance]).mean().item()
        assert abs(correlation) < 5 / math.sqrt(400_000)


def test_dropout_is_the_same_for_the_same_seed_and_off_in_evaluation() -> None:
    x, dropout = torch.randn(50), Dropout(0.5)
    torch.manual_seed(3)
    first = dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert torch.equal(dropout.eval()(x), x)
