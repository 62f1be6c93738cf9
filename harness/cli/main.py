"""The `harness` command: its verbs, and how an error reaches a person."""

from __future__ import annotations

import gc
import os
import sys

import typer

from harness.cache import cache_root
from harness.cli import (
    check,
    compare,
    data,
    doctor,
    evaluate,
    leaderboard,
    listing,
    new,
    plan,
    report,
    rerun,
    run,
    sample,
    show,
    status,
)
from harness.errors import HarnessError

app = typer.Typer(
    name="harness",
    help="Benchmark and ablation harness for long-sequence models.\n\n"
    "Start with: harness run suites/pooling_ablation.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (
    plan,
    run,
    status,
    report,
    leaderboard,
    compare,
    sample,
    evaluate,
    data,
    listing,
    show,
    rerun,
    new,
    check,
    doctor,
):
    verb.add_to(app)


LONGEST_MESSAGE = 1500
"""Characters; a value that a message repeats may be of any length."""


def _readable(message: str) -> str:
    if len(message) > LONGEST_MESSAGE:
        half = LONGEST_MESSAGE // 2
        return f"{message[:half]} … {message[-half:]}"
    return message


def main() -> None:
    """Entry point. A user's mistake prints one message and exits 2; a defect keeps its traceback."""
    # Else matplotlib keeps its list of fonts in the home folder.
    os.environ.setdefault("MPLCONFIGDIR", str(cache_root() / "matplotlib"))
    gc.set_threshold(100_000, 50, 50)  # torch's import makes a million objects that stay: a fifth of its time
    try:
        app()
    except HarnessError as error:
        sys.stderr.write(f"harness: {_readable(str(error))}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("harness: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:  # `harness list models | head`
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
