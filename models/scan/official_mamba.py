"""The kernels of Mamba's authors, where their package mamba-ssm is installed (extra `cuda`).

    selective scan          h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t
                            y_t = (C_t . h_t + D u_t) silu(z_t)
    state space duality     the same with one scalar decay a head, in matrix products

Source: Gu and Dao 2023, section 3.3.2, and Dao and Gu 2024, section 6; `selective_scan_fn` and
`mamba_chunk_scan_combined` of https://github.com/state-spaces/mamba.

Their selective scan starts from zero, and its last state has no gradient. A state to continue from is
therefore put in front of the sequence, and read off behind it, as N steps more, one for each number of a
channel: in front, step n has an input in place n alone, as much larger as it decays until the sequence
starts; behind, steps of length zero leave the state as it is, and show one number of it each.

The products of the state space duality are Triton's: of float32 they keep the ten bits of TF32, where a GPU
has it. The package is looked for without being imported, and imported only where it could be used.

Shapes: B batch, L length, D channels, N states a channel; H heads, P channels of a head, G groups.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

SELECTIVE = "mamba_ssm.ops.selective_scan_interface"
CHUNKS = "mamba_ssm.ops.triton.ssd_combined"
NO_CUDA = "it needs a CUDA device"
CHUNK = 256
"""Steps of a chunk of the state space duality, the package's own choice."""
STEP = 2.0**-20
"""Length of the steps in front: a power of two, by which dividing is exact, and so short that a state
hardly decays before it is whole."""


def no_selective_scan(device: torch.device) -> str | None:
    """Why the selective scan cannot run on a device, or None: it can."""
    return _missing(SELECTIVE, "selective_scan_cuda") if device.type == "cuda" else NO_CUDA


def no_chunk_scan(device: torch.device) -> str | None:
    """Why the state space duality cannot run on a device, or None: it can."""
    return _missing(CHUNKS) if device.type == "cuda" else NO_CUDA


@cache
def _missing(module: str, extension: str | None = None) -> str | None:
    """Imports what is installed: builds for another torch or CUDA are found out only then."""
    if find_spec("mamba_ssm") is None:
        return "mamba-ssm is not installed (extra `cuda`)"
    try:
        importlib.import_module(module)
    except Exception as error:  # of any kind: undefined symbols, missing libraries, other packages
        first_line = str(error).partition("\n")[0]
        return f"mamba-ssm does not load: {type(error).__name__}: {first_line}"
    if extension is not None and find_spec(extension) is None:
        return "mamba-ssm is installed without its CUDA extension (MAMBA_KEEP_CUDA_BUILD=TRUE builds it)"
    return None


def official_selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    h0: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """y [B, L, D] in the type of u and the last state [B, D, N] in float32.

    u, delta, z: [B, L, D]; A: [D, N]; B, C: [B, L, N]; D, bias: [D]; h0: [B, D, N], None for zero.
    Without bias delta is the step size, else softplus(delta + bias) is.
    """
    if h0 is not None:
        return _continued(u, delta, A, B, C, D, z, bias, h0)
    sequences = (u, delta, B, C) if z is None else (u, delta, B, C, z)
    u, delta, B, C, *gate = (x.to(u.dtype).mT.contiguous() for x in sequences)
    D, bias = (None if row is None else row.float() for row in (D, bias))
    scan: Any = importlib.import_module(SELECTIVE).selective_scan_fn
    options = {"z": gate[0] if gate else None, "delta_bias": bias, "delta_softplus": bias is not None}
    y, last = scan(u, delta, A.float(), B, C, D, **options, return_last_state=True)
    return y.mT, _WithoutGradient.apply(last.float())


class _WithoutGradient(Function):
    """The last state of a scan that started from None: a gradient that would be lost is refused."""

    @staticmethod
    def forward(ctx: Any, last: Tensor) -> Tensor:
        return last.clone()  # the package's is a view of the states of all its chunks

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        message = "mamba-ssm gives the last state of a scan from None no gradient"
        raise RuntimeError(f"{message}: start from `initial_state`, or use another scan")


def _continued(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
) -> tuple[Tensor, Tensor]:
    """The same from a state, in float32: a state must not be rounded to an input's type."""
    u, delta, A, B, C, h0 = (x.float() for x in (u, delta, A, B, C, h0))
    delta = delta if bias is None else F.softplus(delta + bias.float())
    states = A.shape[1]
    left = torch.arange(states - 1, -1, -1, device=A.device)  # steps until the sequence starts
    impulses = (h0 * torch.exp(-STEP * A * left) / STEP).mT
    places = torch.eye(states, device=A.device).expand(len(u), -1, -1)
    nothing = torch.zeros_like(places)
    inputs = torch.cat((impulses, F.pad(u, (0, 0, 0, states))), dim=1)
    steps = F.pad(F.pad(delta, (0, 0, states, 0), value=STEP), (0, 0, 0, states))
    scan: Any = importlib.import_module(SELECTIVE).selective_scan_fn
    sequences = inputs, steps, torch.cat((places, B, nothing), 1), torch.cat((nothing, C, places), 1)
    inputs, steps, B, C = (x.mT.contiguous() for x in sequences)
    y = scan(inputs, steps, A, B, C).mT
    y, last = y[:, states:-states], y[:, -states:].mT
    y = y if D is None else y + u * D.float()
    return (y if z is None else y * F.silu(z.float())), last


def official_chunk_scan(
    x: Tensor, step: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    """h_t = exp(step_t A) h_{t-1} + step_t x_t B_t^T and y_t = h_t C_t for each head.

    x: [B, L, H, P]; step: [B, L, H]; A: [H]; B, C: [B, L, G, N]; h0: [B, H, P, N]. Returns y
    [B, L, H, P] in the type of x and the last h in float32.
    """
    scan: Any = importlib.import_module(CHUNKS).mamba_chunk_scan_combined
    options = {"chunk_size": CHUNK, "initial_states": h0.float(), "return_final_states": True}
    y, last = scan(x, step.float(), A.float(), B.to(x.dtype), C.to(x.dtype), **options)
    return y, last.float()
