"""Options that all benchmarks share, and how lists are written on the command line: 1,2 or 4x16000x64."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.circumstances import busy
from benchmarks.messages import say
from harness.errors import HarnessError
from harness.heap import keep_freed_memory

ThreadsOption = Annotated[str, typer.Option("--threads", help="torch threads, one contest for each: 1,2")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
RepetitionsOption = Annotated[
    int, typer.Option("--repetitions", min=1, help="Rounds; a slow candidate takes part in fewer.")
]
SecondsOption = Annotated[
    float, typer.Option("--seconds", min=0.0, help="Time budget of each candidate in each contest.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="CSV", help="Write one row a candidate and size.")
]

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}


def integers(text: str, separator: str = ",") -> tuple[int, ...]:
    """``1,2`` -> (1, 2), ``4x16000x64`` by x. All at least 1."""
    try:
        found = tuple(int(part) for part in text.split(separator))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise typer.BadParameter(f"expected whole numbers like 1{separator}2, got {text!r}")
    return found


def sizes(text: str) -> list[tuple[int, int, int]]:
    """``4x16000x64,1x100x8`` -> batch, length, width of each."""
    found = [integers(part, "x") for part in text.split(",")]
    if any(len(size) != 3 for size in found):
        raise typer.BadParameter(f"expected batch x length x width like 4x16000x64, got {text!r}")
    return [(size[0], size[1], size[2]) for size in found]


def dtypes(text: str) -> list[torch.dtype]:
    unknown = [name for name in text.split(",") if name not in DTYPES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(DTYPES)}")
    return [DTYPES[name] for name in text.split(",")]


def device(name: str) -> torch.device:
    """The device to measure on; says so if others are using the machine."""
    try:
        found = torch.device(name)
    except RuntimeError:
        raise typer.BadParameter(f"{name!r} is no device; cpu or cuda") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("this torch sees no CUDA device")
    if warning := busy():
        say(warning)
    return found


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many torch threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def new_app() -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def main(app: Callable[..., Any], module: str) -> None:
    """A user's mistake prints one message and exits 2, as the `harness` command does."""
    keep_freed_memory()  # as in the process of a trial
    try:
        app(prog_name=f"python -m benchmarks.{module}")
    except HarnessError as error:
        sys.stderr.write(f"benchmarks.{module}: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
