"""`python -m benchmarks.scan`: h_t = a_t h_{t-1} + b_t, ours against the scans that others use.

At least three arrays have to move in a forward pass (a, b, h) and five in a backward pass (a, h and
dh in, da and db out); the share of the ceiling is their bytes, over the time, over what a copy of
memory reaches at the same number of threads in the same contest.

Shapes: B batch, L length, D width.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from benchmarks import options, output
from benchmarks.agreement import BOTH, FORWARD, Exercise, admit
from benchmarks.ceilings import memory_copy
from benchmarks.circumstances import circumstances, version_of
from benchmarks.contest import Budget, Entry, compete, results
from benchmarks.messages import say
from benchmarks.recurrences import Truth, truth
from benchmarks.scan_candidates import Candidate, candidates

ARRAYS = {FORWARD: 3, BOTH: 3 + 5}
"""That have to move."""
SHOWN = (
    *("name", "median_ms", "iqr_ms", "repetitions", "ratio_to_ours", "gb_per_s"),
    *("share_of_ceiling", "max_error", "max_error_grad"),
)

app = options.new_app()


@dataclass(frozen=True, kw_only=True)
class Case:
    """One size, number format and kind of decay."""

    batch: int
    length: int
    width: int
    dtype: torch.dtype
    decay: tuple[float, float]
    device: torch.device

    @property
    def columns(self) -> dict[str, Any]:
        low, high = self.decay
        return {
            "batch": self.batch,
            "length": self.length,
            "width": self.width,
            "dtype": str(self.dtype).removeprefix("torch."),
            "decay": f"{low}" if low == high else f"[{low}, {high})",
            "threads": torch.get_num_threads(),
        }

    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Decays of uniform magnitude (and any phase), normal inputs, normal gradients of the states."""
        shape = (self.batch, self.length, self.width)
        draws = torch.Generator().manual_seed(0)
        real = torch.float64 if self.dtype in {torch.float64, torch.complex128} else torch.float32
        low, high = self.decay
        a = low + (high - low) * torch.rand(shape, generator=draws, dtype=real)
        if self.dtype.is_complex:
            phase = 2 * math.pi * torch.rand(shape, generator=draws, dtype=real)
            a = torch.polar(a, phase)
        b, grad = (torch.randn(shape, generator=draws, dtype=self.dtype) for _ in range(2))
        return a.to(self.device), b.to(self.device), grad.to(self.device)


@app.command()
def scan(
    size: Annotated[
        str, typer.Option("--size", help="batch x length x width, several by commas.")
    ] = "4x16000x64",
    dtype: Annotated[
        str, typer.Option("--dtype", help="float32, complex64, float64, complex128; several by commas.")
    ] = "float32",
    decay: Annotated[
        str, typer.Option("--decay", help="Magnitudes: LOW:HIGH for uniform ones, or one; by commas.")
    ] = "0.3:1,0.9999",
    only: Annotated[str, typer.Option("--only", help="Candidates whose name has this text.")] = "",
    threads: options.ThreadsOption = "1",
    device: options.DeviceOption = "cpu",
    repetitions: options.RepetitionsOption = 20,
    seconds: options.SecondsOption = 1.0,
    copy_mib: Annotated[int, typer.Option("--copy-mib", min=1, help="Size of the copy.")] = 128,
    csv: options.OutputOption = None,
) -> None:
    """Time linear recurrences: every backend of ours, loops, torch's associative_scan and peers.

    Example: python -m benchmarks.scan --threads 1,2 --dtype float32 --output scan.csv
    """
    target, budget = options.device(device), Budget(repetitions=repetitions, seconds=seconds)
    cases = [
        Case(batch=B, length=L, width=D, dtype=each, decay=limits, device=target)
        for (B, L, D), each, limits in itertools.product(
            options.sizes(size), options.dtypes(dtype), decays(decay)
        )
    ]
    chosen = [c for c in candidates(target) if only in c.name or c.ours]
    rows = []
    for count, case in itertools.product(options.integers(threads), cases):
        with options.threads(count):
            rows += contests(case, chosen, budget, copy_mib)
    table = output.frame(rows, circumstances("scan", target))
    for of, part in output.groups(table, ("what", "length", "dtype", "decay", "threads")):
        title = "{what}, {dtype}, decay {decay}, length {length}, {threads} thread(s), ".format(**of)
        output.show(part, title + target.type, SHOWN)
    output.write(table, csv)


def decays(text: str) -> list[tuple[float, float]]:
    """``0.3:1,0.9999`` -> [(0.3, 1.0), (0.9999, 0.9999)]"""
    try:
        found = [tuple(map(float, part.split(":"))) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or any(len(part) not in {1, 2} or not 0 < part[0] <= part[-1] <= 1 for part in found):
        raise typer.BadParameter(f"expected magnitudes in (0, 1] like 0.3:1,0.9999, got {text!r}")
    return [(part[0], part[-1]) for part in found]


def contests(case: Case, chosen: list[Candidate], budget: Budget, copy_mib: int) -> list[dict[str, Any]]:
    """Forward, forward and backward, and at a short length those whose gradient is hopeless beyond it."""
    rows = contest(case, chosen, FORWARD, budget, copy_mib) + contest(case, chosen, BOTH, budget, copy_mib)
    slow = [c for c in chosen if c.longest_backward is not None and c.longest_backward < case.length]
    for length in sorted({c.longest_backward for c in slow if c.longest_backward is not None}):
        some = [c for c in chosen if c.ours or (c in slow and c.longest_backward == length)]
        rows += contest(replace(case, length=length), some, BOTH, budget, copy_mib)
    return rows


def contest(
    case: Case, chosen: list[Candidate], what: str, budget: Budget, copy_mib: int
) -> list[dict[str, Any]]:
    columns = {**case.columns, "what": what}
    title = ", ".join(f"{columns[name]}" for name in ("what", "dtype", "decay", "length", "threads"))
    say(f"{title}: comparing with float64")
    inputs = case.inputs()
    exact = truth(*inputs)
    entries = [entry_for(candidate, what, inputs, exact, columns) for candidate in chosen]
    del exact
    entries.insert(0, memory_copy(copy_mib, case.device, columns))
    compete(entries, budget, case.device, f"{title}: timing")
    return results(entries)


def entry_for(
    candidate: Candidate,
    what: str,
    inputs: tuple[Tensor, Tensor, Tensor],
    exact: Truth,
    columns: dict[str, Any],
) -> Entry:
    """A candidate that has been compared with the truth, and is ready to be timed if it agrees."""
    a, b, grad = inputs
    version = version_of(candidate.package) if candidate.package else ""
    entry = Entry(
        candidate.name,
        {**columns, "package": candidate.package, "package_version": version},
        note=candidate.note,
        ours=candidate.ours,
        bytes_moved=float(ARRAYS[what] * b.nbytes),
    )
    missing, longest = candidate.unavailable(b.device), candidate.longest_backward
    if missing is not None:
        entry.give_up("missing", missing)
    elif what == BOTH and longest is not None and b.shape[1] > longest:
        entry.give_up("not timed", f"its gradient takes quadratic time: see length {longest}")
    else:
        admit(entry, exercise_of(candidate, a, b, grad, exact), what)
    return entry


def exercise_of(candidate: Candidate, a: Tensor, b: Tensor, grad: Tensor, exact: Truth) -> Exercise:
    """In the candidate's own layout and terms."""
    into, double = candidate.layout, torch.promote_types(b.dtype, torch.float64)
    gradients = candidate.terms.gradients(a.to(double), b.to(double), exact.grad_a, exact.grad_b)
    return Exercise(
        run=candidate.scan,
        arguments=tuple(into(x) for x in candidate.terms.arguments(a, b)),
        grad=into(grad),
        expected=into(exact.states),
        expected_gradients={"a": into(gradients[0]), "b": into(gradients[1])},
    )


if __name__ == "__main__":
    options.main(app, "scan")
