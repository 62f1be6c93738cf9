"""Suites spoilt at random: does the command end in success or in one clear message, and leave no file?

A good suite that uses everything a suite can say is spoilt (see `benchmarks.runner.spoilers`): values
replaced by others of any kind, lines removed, doubled, moved or indented, traps of YAML, characters put in,
the end cut off; and so are the options of the command line. `harness plan` (at times with `--json`, or
`harness show`) runs in this process, as a person would give it; its exit code must be 0 or 2, a message must
be one, and the folder must hold what it held before. What fails is shrunk by hypothesis and shown.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from benchmarks import options
from benchmarks.messages import say
from benchmarks.runner import spoilers
from harness.cli.main import main

SECONDS = 60
"""After which a plan of so small a suite hangs."""

COMMANDS = (("plan", "--slots", "1"), ("plan", "--slots", "1"), ("plan", "--json"), ("show",))

app = options.new_app()


def outcome_of(
    text: str, folder: Path, *, command: Sequence[str] = COMMANDS[0], said: Sequence[str] = ()
) -> int:
    """The command on a suite in an empty folder; its exit code, after checking all that must hold.

    Raises: AssertionError
    """
    file = folder / "spoilt.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    verb, *more = command
    with _inside(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _at_most(SECONDS):
                code, words = _run([verb, str(file), *more, *said])
        except _Hang:
            raise AssertionError(f"takes more than {SECONDS} s") from None
    assert code in {0, 2}, f"exit code {code}: {words}"
    assert "Traceback" not in words, words
    if code == 2 and not words.startswith("Usage: "):  # an option that typer itself refuses
        assert words.startswith("harness: ") and words.count("\n") <= 6 and len(words) < 2000, words
    left = [path.name for path in folder.iterdir()]
    assert left == [file.name], f"left behind: {left}"
    return code


def _run(arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code and what was said on stderr."""
    out, errors = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["harness", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            main()
        return 0, errors.getvalue()
    except SystemExit as ended:
        code: Any = ended.code
        return 0 if code is None else int(code), errors.getvalue()
    except Exception as error:
        lines = "".join(traceback.format_exception(error)[-6:])
        raise AssertionError(f"a traceback: {lines}") from error
    finally:
        sys.argv = before


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class _Hang(BaseException):
    """Passes through whoever catches every Exception."""


@contextlib.contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def hang(*_: object) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(examples: int, seed: int) -> Counter[int]:
    """How often each exit code came; raises AssertionError with the smallest suite that does not hold."""
    codes: Counter[int] = Counter()

    @seeded(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(spoilers.spoilt(), st.sampled_from(COMMANDS), spoilers.options())
    def every_command_holds(text: str, command: Sequence[str], said: Sequence[str]) -> None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            codes[outcome_of(text, Path(folder), command=command, said=said)] += 1

    every_command_holds()
    return codes


@app.command()
def fuzz(
    examples: Annotated[int, typer.Option("--examples", min=1, help="Suites to spoil.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Of what is spoilt.")] = 0,
) -> None:
    """Plan suites that are spoilt at random; exit 1 where one ends in neither success nor a clear error.

    Example: python -m benchmarks.fuzz --examples 2000
    """
    try:
        codes = check(examples, seed)
    except AssertionError as error:
        say("\n".join([str(error), *getattr(error, "__notes__", [])]))
        raise typer.Exit(1) from error
    typer.echo(f"{codes.total()} suites: {codes[0]} planned, {codes[2]} refused with a message")


if __name__ == "__main__":
    options.main(app, "fuzz")
