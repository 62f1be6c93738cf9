"""Multiplications and additions, counted as torch's own counter counts them, without what it imports."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from harness.evaluation.flop_counter import RARE, FlopCounter

DRAW = torch.Generator().manual_seed(0)


def draw(*shape):
    return torch.randn(*shape, generator=DRAW)


CASES = {
    "product": lambda: draw(3, 4) @ draw(4, 5),
    "batched": lambda: draw(2, 3, 4) @ draw(2, 4, 5),
    "matrix by vector": lambda: draw(2, 3, 4) @ draw(4),
    "linear": lambda: F.linear(draw(2, 7, 4), draw(5, 4), draw(5)),
    "added": lambda: torch.baddbmm(draw(2, 3, 5), draw(2, 3, 4), draw(2, 4, 5), beta=0.5, alpha=2),
    "einsum": lambda: torch.einsum("bld,dhe->blhe", draw(2, 3, 4), draw(4, 2, 5)),
    "convolution": lambda: F.conv1d(draw(2, 4, 16), draw(6, 4, 3), draw(6), stride=2, padding=1),
    "grouped": lambda: F.conv1d(draw(2, 4, 16), draw(8, 1, 3), groups=4, dilation=2),
    "transposed": lambda: F.conv_transpose1d(draw(2, 4, 5), draw(4, 3, 4), stride=4),
    "two dimensions": lambda: F.conv2d(draw(1, 2, 8, 9), draw(3, 2, 3, 3)),
    "complex": lambda: draw(3, 4).to(torch.complex64) @ draw(4, 2).to(torch.complex64),
    "elementwise": lambda: draw(9).exp() * 2,
}


def backward():
    x = draw(2, 4, 16).requires_grad_()
    F.conv1d(x, draw(6, 4, 3).requires_grad_()).sum().backward()


@pytest.mark.parametrize("work", [*CASES.values(), backward], ids=[*CASES, "backward"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_count_is_that_of_torch(work, device):
    def run():
        with torch.device(device):
            work() if device == "cpu" else on_meta(work)

    with FlopCounterMode(display=False) as theirs:
        run()
    with FlopCounter() as ours:
        run()
    assert ours.total == theirs.get_total_flops()


def on_meta(work):
    """The same shapes without values."""
    global draw
    kept, draw = draw, lambda *shape: torch.empty(*shape, device="meta")
    try:
        work()
    finally:
        draw = kept


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_its_whole_square(causal):
    query, key, value = draw(2, 3, 8, 4), draw(2, 3, 8, 4), draw(2, 3, 8, 4)
    with FlopCounter() as counter:
        F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    assert counter.total == 2 * (2 * 3) * 8 * 8 * (4 + 4)


def test_whatever_torch_can_count_is_found():
    named = {str(operation).removeprefix("aten.") for operation in flop_registry}
    plain = {"mm", "bmm", "addmm", "baddbmm"}
    assert {name for name in named - plain if not any(word in name for word in RARE)} == set()


def test_triton_is_not_imported():
    code = (
        "import sys, torch\n"
        "from harness.evaluation.flop_counter import FlopCounter\n"
        "with FlopCounter() as counter: torch.ones(2, 3) @ torch.ones(3, 4)\n"
        "assert counter.total == 48\n"
        "assert 'triton' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
