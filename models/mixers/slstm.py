"""sLSTM: long short-term memory with exponential gates, a normaliser, and heads that mix their own memory.

    [i, f, z, o]_t = W x_t + R h_{t-1} + b        (i and f see SiLU(conv(x)) in the place of x)
    c_t = sigmoid(f_t) c_{t-1} + exp(i_t) tanh(z_t)          n_t = sigmoid(f_t) n_{t-1} + exp(i_t)
    h_t = sigmoid(o_t) c_t / n_t                             y = GroupNorm(h)

W and R are block-diagonal, one block a head. Source: Beck et al. 2024 (xLSTM, arXiv 2405.04517), section
2.2, and their code (NX-AI/xlstm), whose initial values these are.

The gates see the state before: this is sequential by construction, and computed by a loop over the steps
of about fifteen small operations each way. Training takes some 0.3 ms a step, whatever the width.

c and n are kept as c exp(-m) and n exp(-m) with m_t = max(log sigmoid(f_t) + m_{t-1}, i_t), so that no gate
overflows and n is at least 1. h does not depend on m, so no gradient flows through it.

Shapes: B batch, L length, D width, H heads, K = D/H width of a head, W kernel of the convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from harness.contracts import State, only_counted, report_flops, require
from models.block_diagonal import block_diagonal
from models.mixers.chunks import without_autocast
from models.mixers.mlstm import small_init_
from models.mixers.recurrence import RecurrentMixer, accumulation_dtype
from models.mixers.short_convolution import ShortConvolution

NORM_EPSILON = 1e-5
Memory = tuple[Tensor, Tensor, Tensor, Tensor]
"""h, c exp(-m), n exp(-m) and m, Float[B, H, K] each."""


@dataclass(frozen=True, kw_only=True)
class SLSTMConfig:
    heads: int = 4
    kernel: int = 4
    """Steps that the convolution in front of i and f sees, the current one included; 0: none."""

    def __post_init__(self) -> None:
        require(self.heads >= 1, "heads", f"must be at least 1, got {self.heads}")
        require(self.kernel >= 0, "kernel", f"must not be negative, got {self.kernel}")


class SLSTM(RecurrentMixer):
    """Long short-term memory with exponential gates, sequential in time (xLSTM's sLSTM)."""

    Config = SLSTMConfig
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"heads": 2, "kernel": 0})

    def __init__(self, config: SLSTMConfig, *, width: int, stride: int = 1, depth: float = 0.0) -> None:
        """depth: from 0, the first layer of a model, to 1, the last: what its forget gates start from."""
        super().__init__()
        divides = width % config.heads == 0
        require(divides, "heads", f"must divide the width, {width}, got {config.heads}")
        self.heads, head = config.heads, width // config.heads
        self.convolution = ShortConvolution(width, config.kernel) if config.kernel else None
        self.input = nn.Parameter(torch.empty(4, config.heads, head, head))
        self.bias = nn.Parameter(torch.zeros(4, width))
        self.recurrent = nn.Parameter(torch.zeros(config.heads, head, 4 * head))
        self.norm = nn.Parameter(torch.ones(width))
        small_init_(self.input, width)
        places = torch.arange(head) / max(head - 1, 1)
        with torch.no_grad():
            self.bias[1] = (5 - 12 * places ** (0.3 + 1.3 * depth)).repeat(config.heads)

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """The biases: as everywhere, but these have two axes."""
        return [self.bias]

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """From a state (None: the start): Float[B, W - 1, D] of the convolution and the four of `Memory`."""
        state = self.initial_state(len(x)) if state is None else state
        window, memory = state[:-4], state[-4:]
        u = x
        if self.convolution is not None:
            u, last = self.convolution.resume(x, *window)
            u, window = F.silu(u), (last,)
        dtype = accumulation_dtype(self.norm.dtype)
        weight, bias = self.input.to(x.dtype), self.bias.to(x.dtype)
        parts = [block_diagonal(v, weight[g], bias[g]) for v, g in ((u, slice(2)), (x, slice(2, 4)))]
        gates = torch.cat(parts, dim=2).to(dtype).unflatten(-1, (self.heads, -1))  # [B, L, 4, H, K]
        with without_autocast(x.device):
            h, memory = scalar_memory(gates, self.recurrent.to(dtype), memory)
        y = F.layer_norm(h, h.shape[-1:], eps=NORM_EPSILON).flatten(-2) * self.norm
        return y.to(x.dtype), (*window, *memory)

    def initial_state(self, batch_size: int) -> State:
        shape, dtype = (
            (batch_size, self.heads, len(self.norm) // self.heads),
            accumulation_dtype(self.norm.dtype),
        )
        h, c, n = (self.norm.new_zeros(shape, dtype=dtype) for _ in range(3))
        m = torch.full_like(h, -torch.inf)
        window = () if self.convolution is None else (self.convolution.initial_state(batch_size),)
        return *window, h, c, n, m

    def state_size(self, batch_size: int, length: int) -> int:
        window = 0 if self.convolution is None else self.convolution.state_size(batch_size)
        return window + 4 * batch_size * len(self.norm) * accumulation_dtype(self.norm.dtype).itemsize


def scalar_memory(gates: Tensor, recurrent: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
    """The recurrence. gates: W x + b, [B, L, 4, H, K]; recurrent: [H, K, 4K]. Returns h [B, L, H, K].

    Differentiable once, in all but m.
    """
    batch, length, _, heads, width = gates.shape
    if only_counted(gates):
        report_flops(8 * batch * length * heads * width**2)
        return gates[:, :, 0].clone(), memory
    given = gates.permute(1, 3, 0, 2, 4).flatten(-2)  # heads first, as batched products want them
    states = (part.transpose(0, 1) for part in memory)
    outputs, *last = _Recurrence.apply(given, recurrent, *states)
    h, c, n, m = (part.transpose(0, 1).contiguous() for part in (outputs[-1], *last))
    return outputs.permute(2, 0, 1, 3), (h, c, n, m)


class _Recurrence(Function):
    """given: [L, H, B, 4K], the rest and all outputs with the axes [H, B, K].

    By hand, as autograd would make three operations of each in a step: what does not depend on the step
    after is found for all steps at once.
    """

    @staticmethod
    def forward(
        ctx: Any, given: Tensor, recurrent: Tensor, h: Tensor, c: Tensor, n: Tensor, m: Tensor
    ) -> tuple[Tensor, ...]:
        steps: list[tuple[Tensor, ...]] = []
        for given_t in given.unbind(0):
            raw = torch.baddbmm(given_t, h, recurrent)
            i, f, z, o = raw.chunk(4, dim=-1)
            kept = F.logsigmoid(f).add_(m)
            m = torch.maximum(kept, i)
            forget, write = kept.sub_(m).exp_(), (i - m).exp_()
            before = h, c, n
            z, o = torch.tanh(z), torch.sigmoid(o)
            c = (forget * c).addcmul_(write, z)
            n = (forget * n).add_(write)
            ratio = c / n
            h = o * ratio
            steps.append((h, *before, forget, write, torch.sigmoid(-f), z, o, n, ratio))
        outputs, *saved = (torch.stack(parts) for parts in zip(*steps, strict=True))
        ctx.save_for_backward(recurrent, *saved)
        ctx.mark_non_differentiable(m)
        return outputs, c, n, m

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor, grad_c: Tensor, grad_n: Tensor, _: Tensor) -> Any:
        recurrent, h_before, c_before, n_before, forget, write, closing, z, o, n, ratio = ctx.saved_tensors
        slope = forget * closing
        # of i, f and z: what a gradient of c, and one of n, puts there
        by_c = torch.stack((write * z, slope * c_before, write * (1 - z * z)), dim=-2).unbind(0)
        by_n = torch.stack((write, slope * n_before, torch.zeros_like(z)), dim=-2).unbind(0)
        by_h = (ratio * o * (1 - o)).unbind(0)
        per_step = (grad_h.unbind(0), (o / n).unbind(0), ratio.unbind(0), forget.unbind(0), by_c, by_n, by_h)
        back, found = torch.zeros_like(grad_c), []
        transposed = recurrent.mT
        for grad_t, scale, ratio_t, forget_t, c_t, n_t, h_t in reversed(list(zip(*per_step, strict=True))):
            back = back + grad_t
            through = back * scale
            grad_c = grad_c + through
            grad_n = torch.addcmul(grad_n, through, ratio_t, value=-1)
            others = (grad_c.unsqueeze(-2) * c_t).addcmul_(grad_n.unsqueeze(-2), n_t)
            grad_raw = torch.cat((others.flatten(-2), back * h_t), dim=-1)
            found.append(grad_raw)
            back = torch.bmm(grad_raw, transposed)
            grad_c, grad_n = grad_c * forget_t, grad_n * forget_t
        grad_given = torch.stack(found[::-1])  # [L, H, B, 4K]
        h_rows, grad_rows = (x.transpose(0, 1).flatten(1, 2) for x in (h_before, grad_given))
        return grad_given, h_rows.mT @ grad_rows, back, grad_c, grad_n, None
