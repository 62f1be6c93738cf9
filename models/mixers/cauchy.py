"""The generating function of S4's kernel at the roots of unity, by Cauchy products.

    K^(w) = sum_{l < L} K_l w^l = C~ (I - w A')^-1 B',   C~ = C (I - A'^L),   w = exp(-i theta), w^L = 1

for the bilinear discretisation A', B' of A = Lambda - p p* with step dt. Its (1 + w) and (1 - w) are
2 cos(theta/2) and 2i sin(theta/2), each times exp(-i theta/2), which leaves

    K^ = dt/2 exp(i theta/2) C~ (i s I - k A)^-1 B,   s = sin(theta/2),   k = dt/2 cos(theta/2)

without the pole that (1 - w) / (1 + w) has at w = -1. With (X, Y) = sum_n X_n Y_n / (i s - k Lambda_n)
the Woodbury identity makes that (C~, B) - k (C~, p) (p*, B) / (1 + k (p*, p)). The terms of a
conjugate pair have one real quadratic denominator in (i s), so that numerators are real:

    v / (is - k z) + v* / (is - k z*) = 2 (is Re v - k Re(v z*)) / (k^2 |z|^2 - s^2 - 2 i s k Re z)

Source: Gu, Goel and Ré 2022 (S4), appendix C.3.

Shapes: D channels, N/2 conjugate pairs, L length, F = floor(L/2) + 1 frequencies.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from harness.contracts import report_flops
from models.recompute import recomputed

CHUNK_ELEMENTS = 1 << 20
"""Of the D x N/2 x F terms, as many are in memory at once; a few times that again in temporaries."""


class ContinuousSystem(NamedTuple):
    """A = Lambda - p p* and B of each channel, one of each conjugate pair, and the step of time."""

    step: Tensor  # [D, 1]
    eigenvalue: Tensor  # complex [D, N/2], as p and b are
    p: Tensor
    b: Tensor


def generating_function(length: int, system: ContinuousSystem, c: Tensor) -> Tensor:
    """K^ at the non-negative frequencies, complex [D, F]: an inverse real FFT turns it into the kernel.

    c: C~, complex [D, N/2].
    """
    step, eigenvalue, p, b = system
    # half of theta in float64, as its sine and cosine near 0 and pi/2 count
    half_angle = math.pi / length * torch.arange(length // 2 + 1, dtype=torch.float64, device=step.device)
    products = torch.stack((c * b, c * p, p.conj() * b, p.conj() * p), dim=1)  # [D, 4, N/2]
    numerators = 2 * torch.cat((products.real, (products * eigenvalue.conj().unsqueeze(1)).real), dim=1)
    modulus, real = eigenvalue.abs(), eigenvalue.real
    report_flops(10 * eigenvalue.numel() * len(half_angle))  # the denominators and their reciprocals
    chunk = max(CHUNK_ELEMENTS // eigenvalue.numel(), 1)
    parts = [
        # the terms are made again in the backward pass
        recomputed(_evaluate, angles, step, modulus, real, numerators)
        for angles in half_angle.split(chunk)
    ]
    return torch.cat(parts, dim=1)


def _evaluate(half_angle: Tensor, step: Tensor, modulus: Tensor, real: Tensor, numerators: Tensor) -> Tensor:
    sine, cosine = half_angle.sin().to(step.dtype), half_angle.cos().to(step.dtype)
    k = step / 2 * cosine  # [D, F]
    # k^2 |z|^2 - s^2 as a product, which does not cancel; [D, N/2, F]
    km = k.unsqueeze(1) * modulus.unsqueeze(2)
    re, im = (km - sine) * (km + sine), -2 * (sine * k).unsqueeze(1) * real.unsqueeze(2)
    square = re * re + im * im
    sums = torch.complex(numerators @ (re / square), numerators @ (-im / square))  # [D, 8, F]
    cb, cp, pb, pp = (1j * sine * sums[:, :4] - k.unsqueeze(1) * sums[:, 4:]).unbind(1)
    rotation = torch.polar(torch.ones_like(sine), half_angle.to(step.dtype))
    return step / 2 * rotation * (cb - k * cp * pb / (1 + k * pp))
