"""Suites spoilt at random: does `harness plan` end in success or in one clear message, and leave no file?

A good suite that uses everything a suite can say is spoilt in one to four places: a line removed, doubled,
moved or indented, a value replaced by one that is out of range, of another kind, or a trap of YAML, a
character put in, the end cut off. The command runs in this process, as a person would give it; its exit
code must be 0 or 2, a message must be one, and the folder must hold what it held before. What fails is
shrunk by hypothesis and shown.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from benchmarks import options
from benchmarks.messages import say
from benchmarks.runner.suites import PLUGIN
from harness.cli.main import main

SUITE = f"""name: spoilt
question: Does it hold?
plugins: ["{PLUGIN}"]
base:
  model: {{name: poolformer, width: 8, layers: 1, pooling: [2, 2], mixer: rg_lru, dropout: 0.1}}
  data: {{name: noise, length: 32, clips: 4}}
  train:
    steps: 3
    batch_size: 2
    learning_rate: 2e-3
    warmup_steps: 0
    validate_every: 2
    crop: null
vary:
  model.pooling: [[], [4], [2, 2]]
  model.mixer: [lru, attention]
grid:
  train.learning_rate: [1e-3, 2e-3]
  train.steps: [3, 4]
variants:
  transformer: {{model: {{name: transformer, width: 8, layers: 1, heads: 2}}}}
  gru: {{model: {{name: gru, width: 8, layers: 1}}}}
  markov: {{model: {{name: markov, order: 1}}}}
  alias: &same {{model: {{name: gru, width: 6}}}}
  again: *same
match: {{by: parameters, to: base, tolerance: 0.5}}
seeds: [0, 1]
measure: [nll, {{name: efficiency, min_steps: 2}}]
profiles:
  default: {{}}
  smoke:
    train: {{steps: 1}}
    seeds: 1
figures: [learning_curve, {{name: pareto}}]
"""

VALUES = (
    *("-1", "0", "1e999", "-.inf", ".nan", "1e-400", "99999999999999999999", "0x10", "010", "1_000", "3.7"),
    *("null", "~", "true", "no", '""', "' '", "[]", "{}", "[[]]", "{a: b}", "[1, x]", "poolformr", "base"),
    *("!!python/object:os.system ls", "!!binary aGk=", "*nothing", "&a [*a]", "2026-11-25", "1:30", "<<"),
    *("'é\\u202e\\0'", '"\\ud800"', "\u202e", "x" * 5000, "a.b.c", "../../etc/passwd", "/", "~root"),
    *("{name: gru, name: gru}", "{name: null}", "{name: [gru]}", "? {x: y}", "|\n  text", "%TAG", "@", "`"),
)

SECONDS = 60
"""After which a plan of so small a suite hangs."""

app = options.new_app()


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """The text of a suite with a few things wrong."""
    text = SUITE
    for _ in range(draw(st.integers(1, 4))):
        text = draw(st.sampled_from(SPOILERS))(draw, text)
    return text


def _line(draw: st.DrawFn, text: str) -> tuple[list[str], int]:
    lines = text.split("\n")
    return lines, draw(st.integers(0, len(lines) - 1))


def _remove(draw: st.DrawFn, text: str) -> str:
    lines, at = _line(draw, text)
    return "\n".join(lines[:at] + lines[at + 1 :])


def _double(draw: st.DrawFn, text: str) -> str:
    lines, at = _line(draw, text)
    return "\n".join(lines[: at + 1] + lines[at:])


def _move(draw: st.DrawFn, text: str) -> str:
    lines, at = _line(draw, text)
    line = lines.pop(at)
    lines.insert(draw(st.integers(0, len(lines))), line)
    return "\n".join(lines)


def _indent(draw: st.DrawFn, text: str) -> str:
    lines, at = _line(draw, text)
    lines[at] = draw(st.sampled_from(["  ", "\t", " ", "- ", "# "])) + lines[at]
    return "\n".join(lines)


def _replace(draw: st.DrawFn, text: str) -> str:
    """Another value, or another key, in place of a word or number."""
    words = list(re.finditer(r"[\w.\-]+", text))
    if not words:
        return text
    word = draw(st.sampled_from(words))
    known = st.sampled_from(VALUES) | st.sampled_from([each.group() for each in words])
    other = draw(known | st.integers().map(str) | st.text(max_size=12))
    return text[: word.start()] + other + text[word.end() :]


def _insert(draw: st.DrawFn, text: str) -> str:
    at = draw(st.integers(0, len(text)))
    return (
        text[:at] + draw(st.text(min_size=1, max_size=3) | st.sampled_from("{}[]:,&*!|>'\"%@`#-")) + text[at:]
    )


def _cut(draw: st.DrawFn, text: str) -> str:
    return text[: draw(st.integers(0, len(text)))]


SPOILERS = (_remove, _double, _move, _indent, _replace, _replace, _replace, _replace, _insert, _cut)


def outcome_of(text: str, folder: Path) -> int:
    """Plan a suite in an empty folder; its exit code, after checking all that must hold."""
    file = folder / "spoilt.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with _inside(folder), _at_most(SECONDS), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, said = _plan(str(file))
    assert code in {0, 2}, f"exit code {code}: {said}"
    assert "Traceback" not in said, said
    if code == 2:
        assert said.startswith("harness: ") and said.count("\n") <= 6, said
    left = [path.name for path in folder.iterdir()]
    assert left == [file.name], f"left behind: {left}"
    return code


def _plan(file: str) -> tuple[int, str]:
    out, errors = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["harness", "plan", file, "--slots", "1"]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            main()
        return 0, errors.getvalue()
    except SystemExit as ended:
        code: Any = ended.code
        return 0 if code is None else int(code), errors.getvalue()
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


@contextlib.contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def hang(*_: object) -> None:
        raise AssertionError(f"the plan took more than {seconds} s")

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
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(spoilt())
    def every_plan_holds(text: str) -> None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            codes[outcome_of(text, Path(folder))] += 1

    every_plan_holds()
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
        say(str(error))
        raise typer.Exit(1) from error
    typer.echo(f"{codes.total()} suites: {codes[0]} planned, {codes[2]} refused with a message")


if __name__ == "__main__":
    options.main(app, "fuzz")
