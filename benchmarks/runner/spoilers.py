"""A suite that uses everything a suite can say, and ways to spoil it: its text, its values, its options."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from benchmarks.runner.suites import PLUGIN
from harness.suite.source import read_scalar

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
  transformer: {{model: {{name: transformer, width: 8, layers: 1, heads: 2}}, match: {{tolerance: 0.6}}}}
  gru: {{model: {{name: gru, width: 8, layers: 1}}}}
  longer: {{extends: gru, train: {{steps: 5}}, match: null}}
  markov: {{model: {{name: markov, order: 1}}}}
  alias: &same {{model: {{name: gru, width: 6}}}}
  again: *same
match: {{by: parameters, to: base, tolerance: 0.5}}
tune:
  over:
    train.learning_rate: {{log_uniform: [1e-4, 1e-1]}}
    train.batch_size: {{choice: [1, 2]}}
  trials: 3
  max_steps: 2
budget: {{trials: 100, hours: 10}}
seeds: [0, 1]
measure: [nll, {{name: efficiency, min_steps: 2}}]
profiles:
  default: {{}}
  smoke:
    train: {{steps: 1}}
    tune: {{trials: 2}}
    variants: {{gru: {{model: {{width: 4}}}}}}
    seeds: 1
figures: [learning_curve, {{name: pareto}}]
columns: [nll_bits_test, train_seconds]
"""

WORDS = (
    *("-1", "0", "1e999", "-.inf", ".nan", "1e-400", "1e308", "99999999999999999999", "9" * 5000, "1" * 30),
    *("0x10", "010", "1_000", "1_", "3.7", "1:30", "2026-11-25", "1000000000", "-9223372036854775809"),
    *("null", "~", "true", "no", '""', "' '", "[]", "{}", "[[]]", "{a: b}", "[1, x]", "poolformr", "base"),
    *("!!python/object:os.system ls", "!!binary aGk=", "!!int five", "!!str [1]", "!a:bool 1", "!!set {a}"),
    *("*nothing", "*same", "&a [*a]", "<<", "<<: *same", "{<<: *same}", "&same {model: {name: lstm}}"),
    *("'é\\u202e\\0'", '"\\ud800"', '"\\UFFFFFFFF"', '"\\0"', '"\\e[31m[bold]"', "\u202e", "\ufeff", "名前"),
    *(
        "x" * 5000,
        "[" * 70 + "]" * 70,
        "{a: " * 60 + "1" + "}" * 60,
        "a.b.c",
        "../../etc/passwd",
        "/",
        "~root",
    ),
    *("{name: gru, name: gru}", "{name: null}", "{name: [gru]}", "? {x: y}", "|\n  text", "%TAG", "@", "`"),
)
"""What takes the place of a word in the text."""

NAMES = (
    *("name", "preset", "extends", "match", "model", "data", "train", "mixer", "width", "layers", "pooling"),
    *("heads", "dropout", "steps", "batch_size", "crop", "learning_rate", "length", "clips", "vocab_size"),
    *("over", "trials", "search", "scheduler", "log_uniform", "uniform", "integers", "choice", "grace_steps"),
    *("by", "to", "tolerance", "field", "hours", "gpu_hours", "smoke", "default", "plugins", "resources", ""),
    *(
        "model.width",
        "train.steps",
        "train.precision",
        "data.length",
        "model.mixer.name",
        "data.name",
        "track",
    ),
)
VALUES = (
    *(
        "poolformer",
        "transformer",
        "gru",
        "lstm",
        "mamba",
        "sashimi",
        "markov",
        "samplernn",
        "wavenet",
        "unet",
    ),
    *("rg_lru", "s4d", "attention", "noise", "synthetic_digits", "sc09", "audio_folder", "nll", "quality"),
    *(
        "paper",
        "sashimi/paper",
        "parameters",
        "flops",
        "base",
        "optuna",
        "none",
        "asha",
        "cosine",
        "bfloat16",
    ),
    *("learning_curve", "tuning", "forest", "nll_bits_test", "peak_memory_mib", "no such thing", "", "a\nb"),
)

_whole = (
    st.integers(-2, 40)
    | st.integers()
    | st.sampled_from([2**31, 2**63, 2**64, 10**6, 10**9, -(10**30), 10**40])
)
_number = (
    st.floats(width=32) | st.sampled_from([0.5, 1e-3, 1e300, 5e-324, float("inf"), float("nan")]) | _whole
)
_text = st.sampled_from(VALUES) | st.text(max_size=8)
_leaf = st.none() | st.booleans() | _whole | _number | _text
_key = st.sampled_from(NAMES) | st.text(max_size=8)
values = st.recursive(
    _leaf,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_key, inner, max_size=3),
    max_leaves=6,
)
"""Plain values of every kind, more often than not such as mean something in a suite."""

paths = st.sampled_from(
    [
        *(
            "model",
            "model.name",
            "model.width",
            "model.layers",
            "model.mixer",
            "model.mixer.name",
            "model.preset",
        ),
        *("model.pooling", "data", "data.name", "data.length", "train", "train.steps", "train.learning_rate"),
        *("train.crop", "train.preset", "train.batch_size", "seeds", "vary", "grid", "variants", "match"),
        *("match.by", "match.tolerance", "match.field", "match.to", "tune", "tune.trials", "tune.over"),
        *("tune.over.train.learning_rate", "tune.search", "budget", "budget.hours", "measure", "figures"),
        *("columns", "profiles", "plugins", "base", "base.model.width", "variants.gru", "variants.gru.model"),
        *("variants.new.model.name", "question", "name", "", ".", "model.", "vary.model.width"),
    ]
)


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """The text of a suite with a few things wrong, or only unusual."""
    if draw(st.integers(0, 2)):
        text = _grafted(draw, SUITE)
        count = draw(st.sampled_from([0, 0, 0, 1]))
    else:
        text, count = SUITE, draw(st.integers(1, 4))
    for _ in range(count):
        text = draw(st.sampled_from(SPOILERS))(draw, text)
    return text


@st.composite
def options(draw: st.DrawFn) -> tuple[str, ...]:
    """Of the command line, none more often than not."""
    found: list[str] = []
    if draw(st.integers(0, 3)) == 0:
        found += ["--profile", draw(st.sampled_from(["smoke", "default", "smok", ""]))]
    for _ in range(draw(st.sampled_from([0] * 6 + [1, 2]))):
        said = draw(st.sampled_from(WORDS) | values.map(_flow) | st.text(max_size=10))
        if "\0" in said:  # which no command line can hold
            continue
        found += ["--set", f"{draw(paths)}={said}" if draw(st.integers(0, 9)) else said]
    return tuple(found)


def _grafted(draw: st.DrawFn, text: str) -> str:
    """Values somewhere in it replaced, added or taken away: sound YAML, another suite."""
    data = read_scalar(text)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        places = list(_places(data))
        parent, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["alike", "alike", "alike", "swap", "replace", "add", "remove", "wrap"])):
            case "alike":
                parent[key] = draw(_alike(parent[key]))
            case "swap":
                other, there = draw(st.sampled_from(places))
                parent[key] = copy.deepcopy(other[there])
            case "replace":
                parent[key] = draw(values)
            case "add" if isinstance(parent, dict):
                parent[draw(_key)] = draw(values)
            case "add":
                parent.append(draw(values))
            case "remove":
                del parent[key]
            case "wrap":
                parent[key] = [parent[key]] if draw(st.booleans()) else {draw(_key): parent[key]}
        if not data:
            break
    return _lines(data)


def _alike(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same kind."""
    match value:
        case bool() | None:
            return _leaf
        case int():
            return _whole
        case float():
            return _number
        case str():
            return _text
        case list():
            return st.lists(st.sampled_from(value) if value else _leaf, max_size=5) | st.lists(
                _alike(value[0]) if value else _leaf, max_size=5
            )
        case _:
            return st.fixed_dictionaries({}, optional={key: _alike(inner) for key, inner in value.items()})


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything in nested containers."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _lines(data: dict[str, Any]) -> str:
    """A line for each setting at the top, so that the other spoilers have lines to work with."""
    return "".join(f"{_flow(key)}: {_flow(value)}\n" for key, value in data.items())


def _flow(value: Any) -> str:
    """As JSON, with YAML's words for what JSON has none for."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"\bNaN\b", ".nan", re.sub(r"\bInfinity\b", ".inf", text))


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
    known = st.sampled_from(WORDS) | st.sampled_from([each.group() for each in words])
    other = draw(known | values.map(_flow) | st.text(max_size=12))
    return text[: word.start()] + other + text[word.end() :]


def _insert(draw: st.DrawFn, text: str) -> str:
    at = draw(st.integers(0, len(text)))
    return (
        text[:at] + draw(st.text(min_size=1, max_size=3) | st.sampled_from("{}[]:,&*!|>'\"%@`#-")) + text[at:]
    )


def _cut(draw: st.DrawFn, text: str) -> str:
    return text[: draw(st.integers(0, len(text)))]


SPOILERS = (_remove, _double, _move, _indent, _replace, _replace, _replace, _replace, _insert, _cut)
