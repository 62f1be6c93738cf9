"""The selective scan of Mamba: a diagonal recurrence whose step size, input and output maps vary.

    h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t        y_t = C_t . h_t + D u_t,  times silu(z_t)

Source: Gu and Dao 2023, algorithm 2 and section 3.3.2. Their point is kept in plain torch: the
states [B, L, N, D], N times as large as anything else, are never held whole. Time is cut into lanes
of K steps. Several lanes run side by side in a scratch that stays in cache; only the state at the
start of each lane is kept, and the backward pass, written by hand, finds the others again. A lane
maps the state before it to exp(A sum delta) h + E, with E its end from a zero start, so what a lane
starts from costs one extra pass, and none where lanes run one at a time.

Shapes: B batch, L length, D channels, N states a channel, K steps of a lane, G lanes side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from harness.contracts import report_flops

LANE = 32
"""Steps of a lane: what is kept for the backward pass is 1 / LANE of the states."""
SCRATCH = {"cpu": 2**19}
"""Elements of one scratch array, by device: on a CPU what its cache holds."""
LARGE_SCRATCH = 2**25
"""The same where many steps at once are what counts."""

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Backend(NamedTuple):
    """A way to compute C_t . h_t and the last state, and whether it can on a device."""

    scan: Scan
    available: Callable[[torch.device], bool]


def selective_backend_for(device: torch.device | str) -> str:
    """Name of the backend that `selective_scan` uses on this device."""
    device = torch.device(device)
    return next(name for name, backend in _BACKENDS.items() if backend.available(device))


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The outputs y [B, L, D] and the last state [B, D, N].

    u, z: [B, L, D]; delta: [B, L, D], positive; A: [D, N], negative; B, C: [B, L, N]; D: [D];
    h0: [B, D, N], zero by default. Differentiable once in all of them. All is computed, and
    returned, in at least float32, also inside `torch.autocast`.

    Raises: ValueError naming the argument and what was expected of it.
    """
    _check(u, A, delta=delta, B=B, C=C, D=D, z=z, h0=h0)
    dtype = torch.promote_types(u.dtype, torch.float32)
    u, delta, A, B, C = (x.to(dtype) for x in (u, delta, A, B, C))
    h0 = u.new_zeros(len(u), *A.shape) if h0 is None else h0.to(dtype)
    # delta A, delta u B, the recurrence and the product with C
    report_flops(6 * u.numel() * A.shape[1])
    if u.shape[1] == 1 or u.device.type == "meta":  # on the meta device shapes are all that counts
        y, last = _single_step(u, delta, A, B, C, h0)
    else:
        y, last = _BACKENDS[selective_backend_for(u.device)].scan(u, delta, A, B, C, h0)
    if D is not None:
        y = torch.addcmul(y, u, D.to(dtype))
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y, last


def _check(u: Tensor, A: Tensor, **others: Tensor | None) -> None:
    if u.ndim != 3 or u.shape[1] == 0 or not u.is_floating_point():
        found = f"{u.dtype} of shape {list(u.shape)}"
        raise ValueError(f"u must be real floating point of shape [B, L, D] with L >= 1, got {found}")
    batch, length, channels = u.shape
    if A.ndim != 2 or len(A) != channels:
        raise ValueError(f"A must have shape [{channels}, N] to go with u, got {list(A.shape)}")
    states = A.shape[1]
    maps, state = [batch, length, states], [batch, channels, states]
    expected = {"D": [channels], "B": maps, "C": maps, "h0": state}
    for name, value in others.items():
        shape = expected.get(name, list(u.shape))
        if value is not None and list(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape} to go with u and A, got {list(value.shape)}")


def _single_step(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    step = delta[:, 0, :, None]
    h = torch.exp(step * A) * h0 + (step * u[:, 0, :, None]) * B[:, 0, None]
    return (h * C[:, 0, None]).sum(-1).unsqueeze(1).expand_as(u), h


def laned_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    """y [B, L, D] and the last state [B, D, N], in plain torch."""
    length = u.shape[1]
    lane = min(LANE, length)
    padding = -length % lane
    if padding:  # steps of size zero leave the state as it is
        u, delta, B, C = (F.pad(x, (0, 0, 0, padding)) for x in (u, delta, B, C))
    y, last = _LanedScan.apply(lane, u, delta, A.T.contiguous(), B, C, h0.transpose(1, 2))
    return y[:, :length], last.transpose(1, 2)


class _LanedScan(Function):
    """For A [N, D], h0 [B, N, D] and a length that is a multiple of the lane's."""

    @staticmethod
    def forward(
        ctx: Any, lane: int, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor
    ) -> tuple[Tensor, Tensor]:
        y = torch.empty_like(u, memory_format=torch.contiguous_format)
        starts = u.new_empty(len(u), u.shape[1] // lane, *A.shape)
        scratch = _Scratch(u, lane, A)
        state = h0
        for lanes in scratch.lanes():
            u_, delta_, B_, C_, y_ = (_in_lanes(x, lane, lanes) for x in (u, delta, B, C, y))
            a, h = scratch.arrays(lanes, 2)
            _discretise(a, h, u_, delta_, A, B_)
            _fill_starts(starts[:, lanes], a, h, delta_, A, state)
            _run(h, a, starts[:, lanes])
            state = h[-1, :, -1].clone()  # the scratch is used again
            y_.copy_(h.mul_(C_.unsqueeze(-1)).sum(-2))
        ctx.lane = lane
        ctx.save_for_backward(u, delta, A, B, C, starts)
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_state: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient q of the states is itself a scan: q_t = C_t dy_t + a_{t+1} q_{t+1}."""
        u, delta, A, B, C, starts = ctx.saved_tensors
        lane, scratch = ctx.lane, _Scratch(u, ctx.lane, A)
        grad_u, grad_delta, grad_B, grad_C = (
            torch.empty_like(x, memory_format=torch.contiguous_format) for x in (u, delta, B, C)
        )
        grad_A = torch.zeros_like(A)
        for lanes in reversed(scratch.lanes()):
            u_, delta_, B_, C_, dy = (_in_lanes(x, lane, lanes) for x in (u, delta, B, C, grad_y))
            a, h, q = scratch.arrays(lanes, 3)
            _discretise(a, h, u_, delta_, A, B_)
            _run(h, a, starts[:, lanes])
            torch.mul(C_.unsqueeze(-1), dy.unsqueeze(-2), out=q)
            grad_state = _run_backwards(q, a, delta_, A, grad_state)

            _in_lanes(grad_C, lane, lanes).copy_(_contract(h, dy))
            scaled = delta_ * u_
            _in_lanes(grad_B, lane, lanes).copy_(_contract(q, scaled))
            a.mul_(q)[1:].mul_(h[:-1])
            a[0].mul_(starts[:, lanes])  # a is now the gradient of delta A
            grad_scaled = q.mul_(B_.unsqueeze(-1)).sum(-2)
            _in_lanes(grad_u, lane, lanes).copy_(grad_scaled * delta_)
            grad_scaled.mul_(u_)
            grad_scaled += torch.mul(a, A, out=q).sum(-2)
            _in_lanes(grad_delta, lane, lanes).copy_(grad_scaled)
            grad_A += a.mul_(delta_.unsqueeze(-2)).sum((0, 1, 2))
        return None, grad_u, grad_delta, grad_A, grad_B, grad_C, grad_state


class _Scratch:
    """Arrays [K, B, G, N, D] that are used again for each group of lanes."""

    def __init__(self, like: Tensor, lane: int, A: Tensor) -> None:
        self.like = like
        self.shape = lane, len(like), *A.shape
        self.count = like.shape[1] // lane
        wanted = SCRATCH.get(like.device.type, LARGE_SCRATCH) // (lane * len(like) * A.numel())
        self.side_by_side = min(max(wanted, 1), self.count)
        self.flat: list[Tensor] = []

    def lanes(self) -> list[slice]:
        firsts = range(0, self.count, self.side_by_side)
        return [slice(first, min(first + self.side_by_side, self.count)) for first in firsts]

    def arrays(self, lanes: slice, count: int) -> list[Tensor]:
        steps, batch, states, channels = self.shape
        size = steps * batch * self.side_by_side * states * channels
        while len(self.flat) < count:
            self.flat.append(self.like.new_empty(size))
        shape = steps, batch, lanes.stop - lanes.start, states, channels
        used = size // self.side_by_side * shape[2]
        return [flat[:used].view(shape) for flat in self.flat[:count]]


def _in_lanes(x: Tensor, lane: int, lanes: slice) -> Tensor:
    """[B, L, F] -> a view [K, B, G, F] of some lanes."""
    return x.unflatten(1, (-1, lane))[:, lanes].permute(2, 0, 1, 3)


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


def _contract(x: Tensor, y: Tensor) -> Tensor:
    """Sum over the channels of [..., N, D] times [..., D]."""
    return torch.linalg.vecdot(x, y.unsqueeze(-2))


_BACKENDS: dict[str, Backend] = {  # the first available one is used
    "lanes": Backend(laned_scan, lambda device: True),
}
