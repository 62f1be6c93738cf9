"""`python -m benchmarks.selective`: Mamba's selective scan, ours and the authors' reference.

    h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t        y_t = C_t . h_t

The reference (`selective_scan_ref` of state-spaces/mamba) first makes exp(delta A) and delta u B for all
steps, then loops; with `--original CHECKOUT` their very function runs, read from your checkout. Its loop
takes steps by index, so that its gradient takes quadratic time: it is timed over a shorter sequence.

Shapes: B batch, L length, D channels, N states a channel; the reference has L last.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from benchmarks import options, output
from benchmarks.agreement import BOTH, FORWARD, Exercise, admit
from benchmarks.ceilings import memory_copy
from benchmarks.circumstances import circumstances
from benchmarks.contest import Budget, Entry, compete, results
from benchmarks.messages import say
from harness.errors import HarnessError
from models.scan.selective import selective_backend_for, selective_backends, selective_scan

SHORT = 1000
"""The longest sequence over which a quadratic gradient is taken."""

FILE = Path("mamba_ssm/ops/selective_scan_interface.py")
FUNCTION = "selective_scan_ref"
COPY_MIB = 128
SHOWN = ("name", "median_ms", "iqr_ms", "repetitions", "ratio_to_ours", "max_error", "max_error_grad")

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""u, delta, A, B, C -> y, in one of the two layouts."""

app = options.new_app()


@app.command()
def selective(
    size: Annotated[str, typer.Option("--size", help="batch x length x channels, several by commas.")] = (
        "4x4000x128"
    ),
    states: Annotated[int, typer.Option("--states", min=1, help="N, of each channel.")] = 16,
    original: Annotated[
        Path | None, typer.Option("--original", help="A checkout of github.com/state-spaces/mamba.")
    ] = None,
    threads: options.ThreadsOption = "1",
    repetitions: options.RepetitionsOption = 20,
    seconds: options.SecondsOption = 2.0,
    csv: options.OutputOption = None,
) -> None:
    """Time Mamba's selective scan on a CPU: our backends, and the authors' reference.

    Example: python -m benchmarks.selective --original ~/mamba --threads 1,2 --output selective.csv
    """
    target, budget = options.device("cpu"), Budget(repetitions=repetitions, seconds=seconds)
    reference = reference_of(original) if original is not None else None
    rows: list[dict[str, Any]] = []
    for count, (batch, length, channels) in itertools.product(options.integers(threads), options.sizes(size)):
        with options.threads(count):
            sizes = [(FORWARD, length), (BOTH, length)] + ([(BOTH, SHORT)] if length > SHORT else [])
            for what, steps in sizes:
                rows += contest(batch, steps, channels, states, what, budget, reference)
    table = output.frame(rows, circumstances("selective", target))
    for of, part in output.groups(table, ("what", "length", "threads")):
        output.show(part, "{what}, length {length}, {threads} thread(s)".format(**of), SHOWN)
    output.write(table, csv)


def reference_of(checkout: Path) -> Scan:
    """The authors' function alone: its module also imports CUDA extensions. It needs einops.

    Raises: HarnessError for a checkout without it.
    """
    try:
        module = ast.parse((checkout / FILE).read_text(encoding="utf-8"))
        from einops import rearrange, repeat
    except (OSError, SyntaxError, ImportError) as error:
        raise HarnessError(f"--original {checkout}: {error}") from None
    found = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == FUNCTION]
    if not found:
        raise HarnessError(f"--original {checkout}: {FILE} has no {FUNCTION}")
    names: dict[str, Any] = {"torch": torch, "F": F, "rearrange": rearrange, "repeat": repeat}
    exec(compile(ast.Module(found, []), str(checkout / FILE), "exec"), names)
    return names[FUNCTION]  # type: ignore[no-any-return]


def structure(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """What the reference computes, in its order; u, delta [B, D, L], B, C [B, N, L]."""
    decay = torch.exp(delta.unsqueeze(2) * A.unsqueeze(2).unsqueeze(0))
    entering = (delta * u).unsqueeze(2) * B.unsqueeze(1)
    h = torch.zeros_like(decay[..., 0])
    outputs = []
    for t in range(u.shape[-1]):
        h = decay[..., t] * h + entering[..., t]
        outputs.append((h * C[:, None, :, t]).sum(-1))
    return torch.stack(outputs, dim=-1)


def contest(
    batch: int, length: int, channels: int, states: int, what: str, budget: Budget, reference: Scan | None
) -> list[dict[str, Any]]:
    """Everyone over one sequence; who would take quadratic time, over the short one alone."""
    columns = {
        "what": what,
        "batch": batch,
        "length": length,
        "width": channels,
        "states": states,
        "dtype": "float32",
        "threads": torch.get_num_threads(),
    }
    title = f"{what}, length {length}, {columns['threads']} thread(s)"
    say(f"{title}: comparing with float64")
    arguments, A, grad = draw(batch, length, channels, states)
    exact = truth(arguments, A, grad)
    device = grad.device
    entries = [memory_copy(COPY_MIB, device, columns)]
    for name, reason in selective_backends(device).items():
        entry = Entry(f"ours, {name}", dict(columns), ours=name == selective_backend_for(device))
        entries.append(entry)
        if reason is not None:
            entry.give_up("missing", reason)
        else:
            admit(entry, _exercise(partial(_ours, name), arguments, A, grad, exact), what)
    references = {"reference's structure": structure, **({FUNCTION: reference} if reference else {})}
    for name, scan in references.items():
        entry = Entry(name, dict(columns))
        entries.append(entry)
        if what == BOTH and length > SHORT:
            entry.give_up("not timed", f"its gradient takes quadratic time: see length {SHORT}")
        else:
            admit(entry, _exercise(scan, arguments, A, grad, exact, turned=True), what)
    compete(entries, budget, device, f"{title}: timing")
    return results(entries)


def draw(batch: int, length: int, channels: int, states: int) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """u, delta, B, C as a fresh Mamba has them, A, and a gradient."""
    draws = torch.Generator().manual_seed(0)
    u, grad = (torch.randn(batch, length, channels, generator=draws) for _ in range(2))
    B, C = (torch.randn(batch, length, states, generator=draws) for _ in range(2))
    delta = torch.exp(torch.empty(batch, length, channels).uniform_(-6.9, -2.3, generator=draws))
    A = -torch.arange(1.0, states + 1).repeat(channels, 1)
    return (u, delta, B, C), A, grad


def truth(arguments: tuple[Tensor, ...], A: Tensor, grad: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Result and gradients in double precision, by autograd through a plain loop over views."""
    leaves = [x.double().requires_grad_() for x in arguments]
    u, delta, B, C = leaves
    steps = zip(*(x.unbind(1) for x in (u, delta, B, C)), strict=True)
    h: Tensor | float = 0.0
    outputs = []
    for u_t, delta_t, B_t, C_t in steps:
        size = delta_t.unsqueeze(-1)
        h = torch.exp(size * A.double()) * h + size * u_t.unsqueeze(-1) * B_t.unsqueeze(1)
        outputs.append((h * C_t.unsqueeze(1)).sum(-1))
    result = torch.stack(outputs, dim=1)
    return result.detach(), list(torch.autograd.grad(result, leaves, grad.double()))


def _ours(backend: str, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    return selective_scan(u, delta, A, B, C, backend=backend)[0]


def _exercise(
    scan: Scan,
    arguments: tuple[Tensor, ...],
    A: Tensor,
    grad: Tensor,
    exact: tuple[Tensor, list[Tensor]],
    *,
    turned: bool = False,
) -> Exercise:
    """In the layout that the scan wants: transposing is no part of the timing."""

    def lay(x: Tensor) -> Tensor:
        return x.transpose(1, 2).contiguous() if turned else x

    return Exercise(
        run=lambda u, delta, B, C: scan(u, delta, A, B, C),
        arguments=tuple(lay(x) for x in arguments),
        grad=lay(grad),
        expected=lay(exact[0]),
        expected_gradients=dict(zip(("u", "delta", "B", "C"), map(lay, exact[1]), strict=True)),
    )


if __name__ == "__main__":
    options.main(app, "selective")
