"""The selective scan in plain torch: time in lanes that run side by side, the backward pass by hand.

    h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t        y_t = C_t . h_t

The states [B, L, N, D], N times as large as anything else, are never held whole, as in the authors'
kernel (Gu and Dao 2023, section 3.3.2). Time is cut into lanes of K steps, several of which run side
by side in a scratch that stays in cache; only the state in front of each lane is kept, and the backward
pass finds the others again. A lane maps the state in front of it to exp(A sum delta) h + E, with E its
end from a zero start: one extra pass gives what every lane starts from, and none is needed where lanes
run one at a time.

Shapes: B batch, L length, D channels, N states a channel, K steps of a lane, G lanes side by side.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

LANE = 32
"""Steps of a lane: what is kept for the backward pass is 1 / LANE of the states."""
SCRATCH = {"cpu": 2**19}
"""Elements of one scratch array, by device: on a CPU what its cache holds."""
LARGE_SCRATCH = 2**25
"""The same where many elements at once are what counts."""


def laned_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    """y [B, L, D] and the last state [B, D, N], in plain torch."""
    y, last = _LanedScan.apply(u, delta, A.T.contiguous(), B, C, h0.transpose(1, 2))
    return y, last.transpose(1, 2)


class _LanedScan(Function):
    """For A [N, D] and h0 [B, N, D]: with the channels innermost every operation is a vector's."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor
    ) -> tuple[Tensor, Tensor]:
        y = torch.empty_like(u, memory_format=torch.contiguous_format)
        plan = _Plan(u, A)
        starts = u.new_empty(len(u), plan.lanes, *A.shape)
        state = h0
        for group in plan.groups:
            u_, delta_, B_, C_, y_ = (group.lanes_of(x) for x in (u, delta, B, C, y))
            a, h = plan.scratch(group, 2)
            _discretise(a, h, u_, delta_, A, B_)
            _fill_starts(starts[:, group.lanes], a, h, delta_, A, state)
            _run(h, a, starts[:, group.lanes])
            state = h[-1, :, -1].clone()  # the scratch is used again
            y_.copy_(h.mul_(C_.unsqueeze(-1)).sum(-2))
        ctx.save_for_backward(u, delta, A, B, C, starts)
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_state: Tensor) -> tuple[Tensor, ...]:
        """The gradient q of the states is itself a scan: q_t = C_t dy_t + a_{t+1} q_{t+1}."""
        u, delta, A, B, C, starts = ctx.saved_tensors
        plan = _Plan(u, A)
        grad_u, grad_delta, grad_B, grad_C = (
            torch.empty_like(x, memory_format=torch.contiguous_format) for x in (u, delta, B, C)
        )
        grad_A = torch.zeros_like(A)
        for group in reversed(plan.groups):
            u_, delta_, B_, C_, dy = (group.lanes_of(x) for x in (u, delta, B, C, grad_y))
            a, h, q = plan.scratch(group, 3)
            start = starts[:, group.lanes]
            _discretise(a, h, u_, delta_, A, B_)
            _run(h, a, start)
            group.lanes_of(grad_C).copy_(torch.mul(h, dy.unsqueeze(-2), out=q).sum(-1))
            torch.mul(C_.unsqueeze(-1), dy.unsqueeze(-2), out=q)
            grad_state = _run_backwards(q, a, delta_, A, grad_state)

            a.mul_(q)[1:].mul_(h[:-1])
            a[0].mul_(start)  # a is now the gradient of delta A, and h is free
            group.lanes_of(grad_B).copy_(torch.mul(q, (delta_ * u_).unsqueeze(-2), out=h).sum(-1))
            grad_scaled = q.mul_(B_.unsqueeze(-1)).sum(-2)  # of delta u
            group.lanes_of(grad_u).copy_(grad_scaled * delta_)
            grad_step = grad_scaled.mul_(u_).add_(torch.mul(a, A, out=q).sum(-2))
            group.lanes_of(grad_delta).copy_(grad_step)
            grad_A += a.mul_(delta_.unsqueeze(-2)).sum((0, 1, 2))
        return grad_u, grad_delta, grad_A, grad_B, grad_C, grad_state


class _Group(NamedTuple):
    """Lanes that run side by side: which ones, from which step of the sequence on, how long each."""

    lanes: slice
    first: int
    steps: int

    def lanes_of(self, x: Tensor) -> Tensor:
        """[B, L, F] -> a view [K, B, G, F]."""
        count = self.lanes.stop - self.lanes.start
        part = x[:, self.first : self.first + count * self.steps]
        return part.unflatten(1, (count, self.steps)).permute(2, 0, 1, 3)


class _Plan:
    """The groups of a sequence, the last one perhaps of a single shorter lane, and their scratch."""

    def __init__(self, u: Tensor, A: Tensor) -> None:
        batch, length, _ = u.shape
        whole, rest = divmod(length, LANE)
        elements = SCRATCH.get(u.device.type, LARGE_SCRATCH) // (LANE * batch * A.numel())
        side_by_side = min(max(elements, 1), max(whole, 1))
        self.groups = [
            _Group(slice(lane, min(lane + side_by_side, whole)), lane * LANE, LANE)
            for lane in range(0, whole, side_by_side)
        ]
        if rest:
            self.groups.append(_Group(slice(whole, whole + 1), whole * LANE, rest))
        self.lanes = self.groups[-1].lanes.stop
        self._like, self._batch, self._A = u, batch, A
        self._size = batch * A.numel() * (side_by_side * LANE if whole else rest)
        self._arrays: list[Tensor] = []

    def scratch(self, group: _Group, count: int) -> list[Tensor]:
        """Arrays [K, B, G, N, D], the same memory for every group."""
        while len(self._arrays) < count:
            self._arrays.append(self._like.new_empty(self._size))
        shape = group.steps, self._batch, group.lanes.stop - group.lanes.start, *self._A.shape
        return [array[: math.prod(shape)].view(shape) for array in self._arrays[:count]]


def _discretise(a: Tensor, b: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor) -> None:
    """Writes exp(delta A) and (delta u) B."""
    torch.mul(delta.unsqueeze(-2), A, out=a).exp_()
    torch.mul((delta * u).unsqueeze(-2), B.unsqueeze(-1), out=b)


def _run(h: Tensor, a: Tensor, start: Tensor) -> None:
    """The recurrence in place, h holding the inputs, from a state [B, G, N, D] for each lane."""
    state = start
    for a_k, h_k in zip(a.unbind(0), h.unbind(0), strict=True):
        state = h_k.addcmul_(a_k, state)


def _fill_starts(starts: Tensor, a: Tensor, b: Tensor, delta: Tensor, A: Tensor, state: Tensor) -> None:
    """Writes the state in front of each lane, given that in front of the first."""
    starts[:, 0] = state
    if starts.shape[1] == 1:
        return
    end = b[0, :, :-1].clone()
    for a_k, b_k in zip(a[1:, :, :-1].unbind(0), b[1:, :, :-1].unbind(0), strict=True):
        torch.addcmul(b_k, a_k, end, out=end)
    decay = torch.exp(delta[:, :, :-1].sum(0).unsqueeze(-2) * A)
    for g in range(1, starts.shape[1]):
        torch.addcmul(end[:, g - 1], decay[:, g - 1], starts[:, g - 1], out=starts[:, g])


def _run_backwards(q: Tensor, a: Tensor, delta: Tensor, A: Tensor, grad_state: Tensor) -> Tensor:
    """The recurrence of the gradients in place, given that of the state behind the last lane.

    Returns the gradient of the state in front of the first lane.
    """
    lanes = a.shape[2]
    backwards = list(zip(q.unbind(0)[-2::-1], a.unbind(0)[:0:-1], strict=True))
    if lanes == 1:
        q[-1, :, 0] += grad_state
    else:
        first = q[-1].clone()
        for q_k, a_next in backwards:
            torch.addcmul(q_k, a_next, first, out=first)
        first *= a[0]
        decay = torch.exp(delta.sum(0).unsqueeze(-2) * A)
        for g in range(lanes - 1, -1, -1):
            q[-1, :, g] += grad_state
            grad_state = torch.addcmul(first[:, g], decay[:, g], grad_state)
    later = q[-1]
    for q_k, a_next in backwards:
        later = q_k.addcmul_(a_next, later)
    return a[0, :, 0] * q[0, :, 0]
