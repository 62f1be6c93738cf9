"""What the state-space mixers share: HiPPO matrices, step sizes, complex parameters, the layer around.

    y = GELU(SSM(x) + D x),   output W y, or with a gated linear unit  W_1 y * sigmoid(W_2 y)

HiPPO-LegS (Gu et al. 2020): A_nk = -sqrt((2n+1)(2k+1)) for n > k, -(n+1) for n = k, 0 above;
B_n = sqrt(2n+1). With q_n = sqrt(n + 1/2), A + q q^T = S - 1/2 for a skew-symmetric S = V (i mu) V*, so
that V* A V = Lambda - p p* with Lambda = -1/2 + i mu and p = V* q (Gu et al. 2022a, S4, theorem 1;
the Hurwitz form of Goel et al. 2022, SaShiMi). Eigenvalues come in conjugate pairs: one of each is kept.

Shapes: B batch, L length, D width, N real numbers in the state of a channel, N/2 conjugate pairs.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts import State, require
from models.mixers.fft_convolution import fft_convolution
from models.mixers.linear_system import LinearSystem
from models.mixers.recurrence import accumulation_dtype

Discretization = Literal["zoh", "bilinear"]


@dataclass(frozen=True, kw_only=True)
class StateSpaceConfig:
    state: int = 64
    """Real numbers in the state of a channel."""
    min_step: float = 1e-3
    max_step: float = 1e-1
    """Bounds of the initial step sizes, uniform in the logarithm."""
    glu: bool = True
    """A gated linear unit at the output; else a linear map."""

    def __post_init__(self) -> None:
        require(self.state >= 1, "state", f"must be at least 1, got {self.state}")
        require(self.min_step > 0, "min_step", f"must be above 0, got {self.min_step}")
        require(self.max_step >= self.min_step, "max_step", f"must be at least min_step, got {self.max_step}")


class StateSpace(nn.Module):
    """The parameters of a linear system for each channel, and what is computed from them."""

    def kernel(self, length: int) -> Tensor:
        """The first L values of each channel's impulse response, Float[D, L]."""
        return self.system().kernel(length)

    def system(self) -> LinearSystem:
        """The discretised system, differentiable."""
        raise NotImplementedError

    def advance(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step: x [B, D], state [B, D, N'] -> y [B, D] and the next state."""
        raise NotImplementedError

    def initial_state(self, batch_size: int) -> Tensor:
        raise NotImplementedError

    def log_decays(self) -> Tensor | None:
        """log |eigenvalue| of the discretised system, Float[N], where it is diagonal."""
        return None

    def ssm_parameters(self) -> list[nn.Parameter]:
        """Of the dynamics: A, B and the step sizes."""
        raise NotImplementedError


class StateSpaceMixer(nn.Module):
    """A system a channel, a direct path, GELU and an output layer that mixes the channels."""

    def __init__(self, ssm: StateSpace, *, width: int, glu: bool) -> None:
        super().__init__()
        self.ssm: Any = ssm
        self.direct = nn.Parameter(torch.randn(width))
        # torch's own initialisation, as in the original
        self.output = nn.Linear(width, 2 * width if glu else width)
        self.glu = glu

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x.device):
            y = fft_convolution(self._wide(x), self.ssm.kernel(x.shape[1]))
        return self._finish(x, y)

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Float[B, L, D] from a state (None: the start) -> Float[B, L, D] and the last state."""
        length = x.shape[1]
        with full_precision(x.device):
            u, system = self._wide(x), self.ssm.system()
            y = fft_convolution(u, system.kernel(length))
            if state is not None:
                y = y + system.free_response(state, length).mT
            last = system.last_state(u.mT, state)
        return self._finish(x, y), last

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        with full_precision(x.device):
            y, state = self.ssm.advance(self._wide(x), state)
        return self._finish(x, y), state

    def log_decays(self, x: Tensor) -> Tensor | None:
        """Of any step, Float[N], of all states of all channels; None where the system is not diagonal."""
        return self.ssm.log_decays()

    def initial_state(self, batch_size: int) -> Tensor:
        return self.ssm.initial_state(batch_size)

    def state_size(self, batch_size: int, length: int) -> int:
        return batch_size * self.ssm.initial_state(1).nbytes

    def ssm_parameters(self) -> list[nn.Parameter]:
        """Those that the originals train at a rate of 1e-3, whatever the rest's, without weight decay."""
        return self.ssm.ssm_parameters()

    def _wide(self, x: Tensor) -> Tensor:
        return x.to(accumulation_dtype(self.direct.dtype))

    def _finish(self, x: Tensor, y: Tensor) -> Tensor:
        y = self.direct * x + y  # laid out as x is, not transposed as y: GELU's backward pass is slow there
        y = self.output(F.gelu(y).to(x.dtype))
        return F.glu(y, dim=-1) if self.glu else y


class Legs(NamedTuple):
    """Lambda - p p* and B of HiPPO-LegS in its eigenbasis, one of each conjugate pair: Float64[N/2]."""

    frequency: Tensor
    """Imaginary part of the eigenvalue; the real part is -1/2."""
    p: Tensor
    b: Tensor


def hippo_legs(size: int) -> Legs:
    """Of the N x N matrix, N even, by falling frequency.

    The phase of each eigenvector is free; chosen here so that p, and with it b = sqrt(2) p, is positive.
    """
    frequency, p = _hippo_legs(size)
    # `torch.tensor` makes a new tensor on the default device, which may be meta
    return Legs(*(torch.tensor(x) for x in (frequency, p, math.sqrt(2) * p)))


@cache
def _hippo_legs(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The decomposition, which takes a while and is the same in every layer."""
    n = np.arange(size)
    b = np.sqrt(2 * n + 1)
    # the entries of a lower and, mirrored with the other sign, an upper triangle
    skew = np.triu(np.outer(b, b), 1) / 2 - np.tril(np.outer(b, b), -1) / 2
    frequency, vectors = np.linalg.eigh(-1j * skew)
    frequency, vectors = frequency[: size // 2 - 1 : -1], vectors[:, : size // 2 - 1 : -1]
    return frequency.copy(), np.abs(vectors.conj().T @ b) / math.sqrt(2)


def log_uniform(count: int, smallest: float, largest: float) -> Tensor:
    """Logarithms of `count` step sizes."""
    return torch.empty(count).uniform_(math.log(smallest), math.log(largest))


def discretize(eigenvalue: Tensor, step: Tensor, rule: Discretization) -> tuple[Tensor, Tensor]:
    """h' = lambda h + v over a step of size dt: the factors (a, gain) of h_t = a h_{t-1} + gain v_t.

    zoh: v constant in between, a = exp(lambda dt), gain = (a - 1) / lambda. bilinear: trapezoids,
    a = (1 + lambda dt/2) / (1 - lambda dt/2), gain = dt / (1 - lambda dt/2).
    """
    z = eigenvalue * step
    if rule == "zoh":
        return torch.exp(z), _exp_minus_one(z) / eigenvalue
    inverse = 1 / (1 - z / 2)
    return (1 + z / 2) * inverse, step * inverse


def _exp_minus_one(z: Tensor) -> Tensor:
    """exp(z) - 1, exact where z is small."""
    if not z.is_complex():
        return torch.expm1(z)
    half_sine = torch.sin(z.imag / 2)
    real = torch.expm1(z.real) * torch.cos(z.imag) - 2 * half_sine * half_sine
    return torch.complex(real, torch.exp(z.real) * torch.sin(z.imag))


def complex_normal(*shape: int, variance: float = 1.0) -> Tensor:
    """Parts of half the variance each, side by side on a last axis."""
    return torch.randn(*shape, 2) * math.sqrt(variance / 2)


def as_complex(parameter: Tensor) -> Tensor:
    """A parameter [..., 2] of parts side by side as complex numbers, in at least single precision.

    Parameters are kept real: half precision, fused optimisers and weight decay know no complex ones.
    """
    return torch.view_as_complex(parameter.to(accumulation_dtype(parameter.dtype)))


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """No autocast: the powers of a transition lose their phase in half precision."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
