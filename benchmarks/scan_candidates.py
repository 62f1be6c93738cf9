"""Who takes part in the scan's contest, and in which layout and terms each wants its inputs.

Whatever has to be done to fit a peer (transposing, padding, a logarithm of the decays) is done
before the timing, in the peer's favour.

Shapes: B batch, L length, D width.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import recurrences
from benchmarks.contest import in_one_line
from models.scan import backend_for, backends, linear_scan

Layout = Callable[[Tensor], Tensor]
"""How [B, L, D] is laid out for a candidate, its result and its gradients."""


def as_it_is(x: Tensor) -> Tensor:
    return x


def channels_first(x: Tensor) -> Tensor:
    return x.transpose(1, 2).contiguous()


def channels_first_padded(x: Tensor) -> Tensor:
    """To a length that is a power of two; zeros behind the end change nothing before it."""
    length = x.shape[1]
    return F.pad(x.transpose(1, 2), (0, power_of_two(length) - length)).contiguous()


def power_of_two(length: int) -> int:
    """The smallest that is not below."""
    return 1 << (length - 1).bit_length()


def one_channel_of_states(x: Tensor) -> Tensor:
    return x.unsqueeze(2)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a candidate takes instead of (a, b), and the gradients of that, given those of a and b."""

    arguments: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    gradients: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    """(a, b, da, db) -> gradient of the first argument, of the second"""


LINEAR = Terms(arguments=lambda a, b: (a, b), gradients=lambda a, b, da, db: (da, db))
LOG_DECAY = Terms(arguments=lambda a, b: (a.log(), b), gradients=lambda a, b, da, db: (a * da, db))
SELECTIVE = Terms(
    arguments=lambda a, b: (-a.log(), -b / a.log()),
    gradients=lambda a, b, da, db: (-a * da - b / a.log() * db, -a.log() * db),
)
"""Mamba's step size s and input u: a = exp(-s) and b = s u."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    name: str
    scan: Callable[[Tensor, Tensor], Tensor]
    layout: Layout = as_it_is
    terms: Terms = LINEAR
    ours: bool = False
    """The backend that `linear_scan` chooses by itself."""
    package: str = ""
    """The distribution it comes from, whose version is recorded."""
    note: str = ""
    longest_backward: int | None = None
    """Where the gradient is hopeless beyond some length."""
    unavailable: Callable[[torch.device], str | None] = lambda device: None
    """Why it cannot run on a device; None if it can."""


def candidates(device: torch.device) -> list[Candidate]:
    return [*our_backends(device), *written_here(), *peers()]


def our_backends(device: torch.device) -> list[Candidate]:
    chosen = backend_for(device)
    return [
        Candidate(
            name=f"ours, {name}",
            scan=partial(linear_scan, backend=name, check=False),  # as our layers call it
            ours=name == chosen,
            unavailable=partial(_why_not, name),
        )
        for name in backends(device)
    ]


def _why_not(backend: str, device: torch.device) -> str | None:
    return backends(device)[backend]


def written_here() -> list[Candidate]:
    return [
        Candidate(name="loop over unbind", scan=recurrences.loop_over_unbind),
        Candidate(
            name="loop in place",
            scan=recurrences.loop_in_place,
            note="RecurrentGemma's form, written here",
            longest_backward=SHORT,
        ),
        Candidate(
            name="torch associative_scan", scan=recurrences.torch_associative_scan, note="generic mode, eager"
        ),
        Candidate(name="Heinsen, float64", scan=recurrences.heinsen, note="log space, written here"),
    ]


SHORT = 1000
"""The longest sequence over which a quadratic gradient is taken."""


def peers() -> list[Candidate]:
    """Packages of others; imported when they are asked whether they can run."""
    return [
        Candidate(
            name="accelerated_scan.ref",
            scan=_accelerated("ref"),
            layout=channels_first,
            package="accelerated-scan",
            unavailable=needs("accelerated_scan.ref"),
        ),
        Candidate(
            name="mambapy.pscan",
            scan=lambda a, b: importlib.import_module("mambapy.pscan").pscan(a, b),
            layout=one_channel_of_states,
            package="mambapy",
            unavailable=needs("mambapy.pscan"),
        ),
        Candidate(
            name="accelerated_scan.warp",
            scan=_accelerated("warp"),
            layout=channels_first_padded,
            package="accelerated-scan",
            note="padded to a power of two",
            unavailable=needs("accelerated_scan.warp", device="cuda"),
        ),
        Candidate(
            name="accelerated_scan.scalar",
            scan=_accelerated("scalar"),
            layout=channels_first,
            package="accelerated-scan",
            unavailable=needs("accelerated_scan.scalar", device="cuda"),
        ),
        *(
            Candidate(
                name=f"fla {name}",
                scan=partial(_fla, name),
                terms=LOG_DECAY,
                package="fla-core",
                unavailable=needs("fla.ops.hgrn", device="cuda"),
            )
            for name in ("chunk_hgrn", "fused_recurrent_hgrn")
        ),
        Candidate(
            name="mamba_ssm selective_scan",
            scan=_selective_scan,
            layout=channels_first,
            terms=SELECTIVE,
            package="mamba-ssm",
            note="one state a channel",
            unavailable=needs("mamba_ssm.ops.selective_scan_interface", device="cuda"),
        ),
    ]


def needs(module: str, device: str | None = None) -> Callable[[torch.device], str | None]:
    """Whether a module can be imported and, for kernels, whether the device is of their kind."""

    def unavailable(target: torch.device) -> str | None:
        if device is not None and target.type != device:
            return f"runs on {device} only"
        try:
            importlib.import_module(module)
        except Exception as error:  # extensions fail in many ways: no compiler, no library, no driver
            return f"import {module}: {in_one_line(error)}"
        return None

    return unavailable


def _accelerated(module: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: importlib.import_module(f"accelerated_scan.{module}").scan(a, b)


def _fla(function: str, log_a: Tensor, b: Tensor) -> Tensor:
    return getattr(importlib.import_module("fla.ops.hgrn"), function)(b, log_a)[0]


def _selective_scan(step: Tensor, u: Tensor) -> Tensor:
    module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    one = step.new_ones(step.shape[1], 1)
    return module.selective_scan_fn(u, step, -one, one, one)
