"""The recurrence h_t = a_t h_{t-1} + b_t as it is written elsewhere, in plain torch; and its float64 truth.

Written here after what the sources describe, so that they can be timed without their packages.

Shapes: a, b, h Float or Complex[B, L, D].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch._higher_order_ops import associative_scan

from models.scan.reference import reference_scan


class Truth(NamedTuple):
    """States and gradients in double precision, of inputs as they are in their own."""

    states: Tensor
    grad_a: Tensor
    grad_b: Tensor


@torch.no_grad()
def truth(a: Tensor, b: Tensor, grad_states: Tensor) -> Truth:
    """Step by step, and the adjoint recurrence g_t = dh_t + conj(a_{t+1}) g_{t+1} as it is on paper:

    db_t = g_t and da_t = g_t conj(h_{t-1}).
    """
    a, b, grad_states = (x.to(torch.promote_types(x.dtype, torch.float64)) for x in (a, b, grad_states))
    states = reference_scan(a, b)
    zero = torch.zeros_like(a[:, :1])
    later_decay = torch.cat((a[:, 1:], zero), dim=1).conj()
    grad_b = reference_scan(later_decay.flip(1), grad_states.flip(1)).flip(1)
    before = torch.cat((zero, states[:, :-1]), dim=1)
    return Truth(states, grad_b * before.conj(), grad_b)


def loop_over_unbind(a: Tensor, b: Tensor) -> Tensor:
    """One step after another; autograd keeps a node a step."""
    return reference_scan(a, b)


def loop_in_place(a: Tensor, b: Tensor) -> Tensor:
    """The form of the official RecurrentGemma code in torch: every state is written into the result.

    Its gradient takes time quadratic in the length: autograd makes a zero tensor of the whole size
    for each a[:, t], b[:, t] and assignment.
    """
    states = torch.zeros_like(b)
    h = torch.zeros_like(b[:, 0])
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states[:, t] = h
    return states


def torch_associative_scan(a: Tensor, b: Tensor) -> Tensor:
    """torch's own operator, run eagerly, over pairs (decay, state)."""

    def combine(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return left[0] * right[0], right[0] * left[1] + right[1]

    return associative_scan(combine, (a, b), dim=1, combine_mode="generic")[1]


SMALLEST_LOGARITHM = -700.0
"""Stands for log 0 in double precision; minus infinity would turn gradients into NaN."""


def heinsen(a: Tensor, b: Tensor) -> Tensor:
    """In log space: h = exp(A + logcumsumexp(log b - A)), A = cumsum(log a). Heinsen 2023.

    In double precision, whatever comes in: in single precision it loses up to half of the digits.
    Real inputs are scanned as positive and negative parts, which is faster than complex logarithms;
    decays must then be positive.
    """
    if a.is_complex():
        a64, b64 = a.to(torch.complex128), b.to(torch.complex128)
        log_decay = torch.log(a64).cumsum(1)
        return torch.exp(log_decay + torch.logcumsumexp(torch.log(b64) - log_decay, 1)).to(b.dtype)
    log_decay = torch.log(a.double()).cumsum(1)

    def scanned(part: Tensor) -> Tensor:
        positive = part > 0
        logarithm = torch.where(positive, torch.where(positive, part, 1).log(), SMALLEST_LOGARITHM)
        return torch.exp(log_decay + torch.logcumsumexp(logarithm - log_decay, 1))

    return (scanned(b.double()) - scanned(-b.double())).to(b.dtype)
