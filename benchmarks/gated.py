"""`python -m benchmarks.gated`: the RG-LRU's recurrence with its gates, fused, composed, as elsewhere.

    r = sigmoid(p), i = sigmoid(q), a = exp(r (log_decay + i phase))
    h_t = a_t h_{t-1} + sqrt(1 - |a_t|^2) i_t x_t

with logits p and q. What has to move, in arrays of the channels: forward x, p, q in and h out;
backward x, p, q, h, dh in and dx, dp, dq out. With complex channels x and h are two arrays each.

Shapes: B batch, L length, N channels; x, h Float[B, L, N], or [B, L, 2N] with complex channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor
from torch.autograd import Function

from benchmarks import options, output
from benchmarks.agreement import BOTH, FORWARD, Exercise, admit
from benchmarks.ceilings import memory_copy
from benchmarks.circumstances import circumstances
from benchmarks.contest import Budget, Entry, compete, results
from benchmarks.messages import say
from benchmarks.recurrences import loop_in_place, loop_over_unbind
from models.scan import backend_for, backends, gated_scan, linear_scan

SHORT = 1000
"""The longest sequence over which a quadratic gradient is taken."""
SHOWN = (
    *("name", "median_ms", "iqr_ms", "repetitions", "ratio_to_ours", "gb_per_s"),
    *("share_of_ceiling", "max_error", "max_error_grad"),
)

app = options.new_app()
Recurrence = Callable[[Tensor, Tensor], Tensor]


class Inputs(NamedTuple):
    x: Tensor
    p: Tensor
    q: Tensor
    log_decay: Tensor
    phase: Tensor | None

    def double(self) -> Inputs:
        return Inputs(*(None if x is None else x.double() for x in self))  # type: ignore[arg-type]


@app.command()
def gated(
    size: Annotated[
        str, typer.Option("--size", help="batch x length x width of x, several by commas.")
    ] = "4x16000x64",
    channels: Annotated[str, typer.Option("--channels", help="real, complex")] = "real,complex",
    threads: options.ThreadsOption = "1",
    device: options.DeviceOption = "cpu",
    repetitions: options.RepetitionsOption = 20,
    seconds: options.SecondsOption = 1.0,
    copy_mib: Annotated[int, typer.Option("--copy-mib", min=1, help="Size of the copy.")] = 128,
    csv: options.OutputOption = None,
) -> None:
    """Time the gated recurrence: our backends, the composed form, and RecurrentGemma's structure.

    Example: python -m benchmarks.gated --channels real --threads 1,2 --output gated.csv
    """
    target, budget = options.device(device), Budget(repetitions=repetitions, seconds=seconds)
    unknown = {*channels.split(",")} - {"real", "complex"}
    if unknown:
        raise typer.BadParameter(f"--channels takes real and complex, got {channels!r}")
    rows: list[dict[str, Any]] = []
    for count, shape, kind in itertools.product(
        options.integers(threads), options.sizes(size), channels.split(",")
    ):
        with options.threads(count):
            for what, (B, L, D), long in (
                (FORWARD, shape, True),
                (BOTH, shape, True),
                (BOTH, (shape[0], min(SHORT, shape[1]), shape[2]), False),
            ):
                if long or shape[1] > SHORT:
                    inputs, grad = draw(B, L, D, kind == "complex", target)
                    rows += contest(inputs, grad, what, budget, copy_mib, everyone=long)
    table = output.frame(rows, circumstances("gated", target))
    for of, part in output.groups(table, ("what", "length", "channels", "threads")):
        title = "{what}, {channels} channels, length {length}, {threads} thread(s), ".format(**of)
        output.show(part, title + target.type, SHOWN)
    output.write(table, csv)


def draw(
    batch: int, length: int, width: int, complex_channels: bool, device: torch.device
) -> tuple[Inputs, Tensor]:
    """Normal inputs, logits and gradient; decays as a fresh RG-LRU has them, |a| in [0.9, 0.99] ungated."""
    draws = torch.Generator().manual_seed(0)
    channels = width // 2 if complex_channels else width
    if complex_channels and width % 2:
        raise typer.BadParameter(f"complex channels need an even width, got {width}")
    x, grad = (torch.randn(batch, length, width, generator=draws).to(device) for _ in range(2))
    p, q = (torch.randn(batch, length, channels, generator=draws).to(device) for _ in range(2))
    radius = 0.9 + 0.09 * torch.rand(channels, generator=draws)
    phase = 0.3 * torch.rand(channels, generator=draws) if complex_channels else None
    return Inputs(x, p, q, radius.log().to(device), None if phase is None else phase.to(device)), grad


def contest(
    inputs: Inputs, grad: Tensor, what: str, budget: Budget, copy_mib: int, *, everyone: bool
) -> list[dict[str, Any]]:
    batch, length, width = inputs.x.shape
    columns = {
        "what": what,
        "batch": batch,
        "length": length,
        "width": width,
        "dtype": "float32",
        "channels": "real" if inputs.phase is None else "complex",
        "threads": torch.get_num_threads(),
    }
    title = ", ".join(f"{columns[name]}" for name in ("what", "channels", "length", "threads"))
    say(f"{title}: comparing with float64")
    device = inputs.x.device
    exact = truth(inputs, grad)
    functions = candidates(device)
    entries = [memory_copy(copy_mib, device, columns)]
    for name, function in functions.items():
        ours = name == f"ours, {backend_for(device)}"
        quadratic = function is in_place
        if not (everyone or ours or quadratic):
            continue
        entry = Entry(name, dict(columns), ours=ours, bytes_moved=bytes_moved(inputs, what))
        entries.append(entry)
        if isinstance(function, str):
            entry.give_up("missing", function)
        elif quadratic and what == BOTH and length > SHORT:
            entry.give_up("not timed", f"its gradient takes quadratic time: see length {SHORT}")
        else:
            admit(entry, exercise_of(function, inputs, grad, exact), what)
    compete(entries, budget, device, f"{title}: timing")
    return results(entries)


Gated = Callable[[Inputs], Tensor]


def candidates(device: torch.device) -> dict[str, Gated | str]:
    """Name -> function, or why it cannot run. All of them take torch's own path but for ours."""
    found: dict[str, Gated | str] = {}
    for name, reason in backends(device).items():
        found[f"ours, {name}"] = reason if reason is not None else partial(_ours, name)
    found["RecurrentGemma's structure, our scan"] = partial(structure, partial(linear_scan, check=False))
    found["RecurrentGemma's structure, loop in place"] = in_place
    return found


def _ours(backend: str, inputs: Inputs) -> Tensor:
    return gated_scan(
        inputs.x,
        log_decay=inputs.log_decay,
        phase=inputs.phase,
        recurrence_logits=inputs.p,
        input_logits=inputs.q,
        backend=backend,
        check=False,  # as our layers call it
    )


def structure(scan: Recurrence, inputs: Inputs) -> Tensor:
    """One operation after another, as in the official torch code (and its JAX code, complex)."""
    x, p, q, log_decay, phase = inputs
    log_magnitude = torch.sigmoid(p) * log_decay
    scale = _BoundedRoot.apply(1 - torch.exp(2 * log_magnitude))
    gain = torch.sigmoid(q) * scale
    if phase is None:
        return scan(torch.exp(log_magnitude), gain * x)
    real, imaginary = x.chunk(2, -1)
    a = torch.exp(torch.complex(log_magnitude, torch.sigmoid(p) * phase))
    h = scan(a, torch.complex(gain * real, gain * imaginary))
    return torch.cat((h.real, h.imag), dim=-1)


def in_place(inputs: Inputs) -> Tensor:
    return structure(loop_in_place, inputs)


class _BoundedRoot(Function):
    """sqrt(y), its derivative at most 200 as ours; nothing drawn here comes near the bound."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return torch.sqrt(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return grad / torch.sqrt((4 * y).clamp(min=200.0**-2))


def truth(inputs: Inputs, grad: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Result and gradients in double precision, by autograd through the plain loop."""
    double = inputs.double()
    leaves = [x.requires_grad_() for x in double[:3]]
    result = structure(loop_over_unbind, double)
    return result.detach(), list(torch.autograd.grad(result, leaves, grad.double()))


def exercise_of(
    function: Gated, inputs: Inputs, grad: Tensor, exact: tuple[Tensor, list[Tensor]]
) -> Exercise:
    def run(x: Tensor, p: Tensor, q: Tensor) -> Tensor:
        return function(inputs._replace(x=x, p=p, q=q))

    return Exercise(
        run=run,
        arguments=inputs[:3],
        grad=grad,
        expected=exact[0],
        expected_gradients=dict(zip("xpq", exact[1], strict=True)),
    )


def bytes_moved(inputs: Inputs, what: str) -> float:
    wide, logits = inputs.x.nbytes, inputs.p.nbytes
    forward = 2 * wide + 2 * logits
    backward = 4 * wide + 4 * logits  # x, h, dh, dx and p, q, dp, dq
    return float(forward if what == FORWARD else forward + backward)


if __name__ == "__main__":
    options.main(app, "gated")
