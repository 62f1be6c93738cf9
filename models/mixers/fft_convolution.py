"""Causal convolution of each channel with a kernel as long as the sequence, by the fast Fourier transform.

    y_t = sum_{s <= t} K_{t-s} u_s

Both are padded with zeros to a length of at least 2L - 1, so that nothing wraps around. The transforms
are of real signals. All steps go through one transform, so a later input moves earlier outputs by
rounding (about 1e-7 of the largest in float32), never by more.

Shapes: B batch, L length, D width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from harness.contracts import report_flops


def fft_convolution(u: Tensor, kernel: Tensor) -> Tensor:
    """Float[B, L, D] with kernels Float[D, L] -> Float[B, L, D]. Differentiable once in both."""
    batch, length, width = u.shape
    points = fast_length(2 * length - 1)
    # a real transform 2.5 n log2 n, a complex product 6 for each of n / 2 frequencies
    transforms = 2.5 * points * math.log2(max(points, 2)) * (2 * batch + 1) * width
    report_flops(transforms + 3 * points * batch * width)
    return _Convolution.apply(u.mT, kernel, points).mT


def fast_length(least: int) -> int:
    """The smallest 2^a 3^b 5^c that is not below: what transforms are fast at."""
    found = 1 << (least - 1).bit_length()
    fives = 1
    while fives < found:
        odd = fives
        while odd < found:
            twos = -(-least // odd)
            found = min(found, odd << (twos - 1).bit_length())
            odd *= 3
        fives *= 5
    return found


class _Convolution(Function):
    """Keeps the two spectra, which takes two thirds of the time of torch's own derivative."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, kernel: Tensor, points: int) -> Tensor:
        spectra = torch.fft.rfft(u, n=points), torch.fft.rfft(kernel, n=points)
        ctx.save_for_backward(*spectra)
        ctx.points, ctx.length = points, u.shape[-1]
        return torch.fft.irfft(spectra[0] * spectra[1], n=points)[..., : ctx.length]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Correlations: du_s = sum_t K_{t-s} g_t, and dK_l = sum_t u_{t-l} g_t over the batch too."""
        inputs, kernel = ctx.saved_tensors
        spectrum = torch.fft.rfft(grad, n=ctx.points)
        grad_u = grad_kernel = None
        if ctx.needs_input_grad[1]:
            product = (spectrum * inputs.conj()).sum(0)
            grad_kernel = torch.fft.irfft(product, n=ctx.points)[..., : ctx.length]
        if ctx.needs_input_grad[0]:
            grad_u = torch.fft.irfft(spectrum.mul_(kernel.conj()), n=ctx.points)[..., : ctx.length]
        return grad_u, grad_kernel, None
