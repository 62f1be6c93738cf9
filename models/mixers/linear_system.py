"""Discrete linear systems, one a channel: impulse response, free response and last state of L steps.

    h_t = h_{t-1} A + u_t b,   y_t = Re(h_t c^T)   (h, b, c are rows)
    kernel:         K_l = Re(b A^l c^T)
    free response:  F_t = Re(h A^{t+1} c^T)
    last state:     h_L = h A^L + sum_t u_t b A^{L-1-t}

With l = i M + j the kernel is an outer product of two short lists, (b A^j) for j < M and
(A^{iM} c^T) for i < L/M, which the squares A, A^2, A^4, ... double up. With M near sqrt(L) nothing of
size L x N is ever made, and the bulk of the work is one product of real matrices. Nothing here
divides or takes a logarithm: the only errors are those of stepping, and no worse for a long L.

Shapes: D channels, N numbers in a channel's state, B batch, L length, M steps of a block,
R rows (any vectors of a channel side by side).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class LinearSystem:
    """b, c: real or complex [D, N]; A: as the subclass says. Powers of A are kept once they are found.

    Where one of each conjugate pair is kept, c is twice what it is in the full system.
    """

    def __init__(self, transition: Tensor, b: Tensor, c: Tensor) -> None:
        self.b, self.c = b.unsqueeze(1), c.unsqueeze(1)
        self._squares = [transition]  # A^(2^j)

    def kernel(self, length: int) -> Tensor:
        """K: Float[D, L]."""
        block = _block_size(length)
        columns = self._powers(self.c, -(-length // block), first=block, transposed=True)
        rows = self._powers(self.b, block)
        return _products(columns, rows).flatten(1)[:, :length]

    def free_response(self, state: Tensor, length: int) -> Tensor:
        """What a state [B, D, N] alone makes of the next L outputs: Float[B, D, L]."""
        block = _block_size(length)
        columns = self._powers(self.c, -(-length // block), first=block, transposed=True)
        rows = self._powers(self._times(state.transpose(0, 1), 1), block)  # [D, M B, N]
        outputs = _products(columns, rows).unflatten(-1, (block, -1))  # [D, L/M, M, B]
        return outputs.permute(3, 0, 1, 2).flatten(2)[:, :, :length]

    def last_state(self, u: Tensor, state: Tensor | None) -> Tensor:
        """Inputs Float[B, D, L] after a state [B, D, N] (None: zero) -> the state after them, [B, D, N]."""
        batch, _, length = u.shape
        block = _block_size(length)
        response = self._powers(self.b, block).flip(1)  # of a block's last state to each of its inputs
        blocks = F.pad(u, (-length % block, 0)).unflatten(2, (-1, block)).transpose(0, 1)
        ends = _as(response, blocks.flatten(1, 2) @ as_real(response))
        ends = ends.unflatten(1, (batch, -1))  # [D, B, L/M, N]
        span = block
        while ends.shape[2] > 1:  # join neighbours; a block of silence in front where one is alone
            ends = F.pad(ends, (0, 0, ends.shape[2] % 2, 0)).unflatten(2, (-1, 2))
            earlier = self._times(ends[:, :, :, 0].flatten(1, 2), span)
            ends = earlier.unflatten(1, (batch, -1)) + ends[:, :, :, 1]
            span *= 2
        last = ends[:, :, 0]
        if state is not None:
            last = last + self.after(state.transpose(0, 1), length)
        return last.transpose(0, 1)

    def after(self, rows: Tensor, steps: int, *, transposed: bool = False) -> Tensor:
        """rows A^steps, [D, R, N]; transposed: of the transpose of A."""
        for j in range(steps.bit_length()):
            if steps >> j & 1:
                rows = self._times(rows, 1 << j, transposed)
        return rows

    def _powers(self, rows: Tensor, count: int, *, first: int = 1, transposed: bool = False) -> Tensor:
        """rows A^(first i) for i < count, all of one power before those of the next: [D, count R, N]."""
        found, have, width = rows, 1, rows.shape[1]
        while have < count:
            more = min(have, count - have)
            found = torch.cat((found, self._times(found[:, : more * width], first * have, transposed)), dim=1)
            have += more
        return found

    def _times(self, rows: Tensor, power: int, transposed: bool = False) -> Tensor:
        """rows A^power, for a power of two."""
        exponent = power.bit_length() - 1
        while len(self._squares) <= exponent:
            self._squares.append(self._square(self._squares[-1]))
        return self._apply(rows, self._squares[exponent], transposed)

    def _square(self, a: Tensor) -> Tensor:
        raise NotImplementedError

    def _apply(self, rows: Tensor, a: Tensor, transposed: bool) -> Tensor:
        raise NotImplementedError


class DenseSystem(LinearSystem):
    """A: Float[D, N, N]."""

    def _square(self, a: Tensor) -> Tensor:
        return torch.bmm(a, a)

    def _apply(self, rows: Tensor, a: Tensor, transposed: bool) -> Tensor:
        return torch.bmm(rows, a.mT if transposed else a)


class DiagonalSystem(LinearSystem):
    """A: real or complex [D, N], the diagonal."""

    def _square(self, a: Tensor) -> Tensor:
        return a * a

    def _apply(self, rows: Tensor, a: Tensor, transposed: bool) -> Tensor:
        return rows * a.unsqueeze(1)


def as_real(x: Tensor) -> Tensor:
    """Complex [..., N] as real [..., 2N], each number's parts side by side (no copy); real as it is."""
    return torch.view_as_real(x).flatten(-2) if x.is_complex() else x


def _block_size(length: int) -> int:
    """The power of two next to the square root from above."""
    return 1 << (((length - 1).bit_length() + 1) // 2)


def _products(columns: Tensor, rows: Tensor) -> Tensor:
    """Re(columns rows^T): [D, C, N] and [D, R, N] -> Float[D, C, R], by a product of real matrices."""
    return torch.bmm(as_real(columns), as_real(rows.conj_physical()).mT)


def _as(like: Tensor, numbers: Tensor) -> Tensor:
    """The inverse of `as_real`, where `like` is complex."""
    return torch.view_as_complex(numbers.unflatten(-1, (-1, 2))) if like.is_complex() else numbers
