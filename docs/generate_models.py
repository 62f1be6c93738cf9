"""Write docs/models.md from what is registered: ``python docs/generate_models.py``.

With ``--check`` nothing is written; the exit code is 1 where the file is not up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import registry
from harness.cli.format import quantity
from harness.contracts import can_resume
from harness.evaluation.flops import build_to_count, count_parameters

FILE = Path(__file__).with_name("models.md")
VOCABULARY = 256
LENGTH = 16_000
"""Tokens after which a state is measured: a second of sound."""

HEAD = """# Models

Made by `python docs/generate_models.py` from the classes' own docstrings, presets and attributes; do
not edit it by hand. `harness list models` is the short form, `harness list presets` has every preset.

- *Parameters* and *state* are those of the preset `paper`, or of the defaults where there is none. The
  number of parameters is the published one where the source states it, else counted (~) with 256 tokens.
- *Work a token* is in the letters of the papers, constant factors left out: D width, L length of the
  clip, W attention window, P patch or pooling factor, N size of a channel's state, K width of a head's
  key, V vocabulary; "in sequence" means that the steps of a clip cannot be computed side by side.
- *State* is what generating one clip keeps after a second (16 000 samples); "grows" where it is larger
  after two.
- *Resumes*: it can be trained and evaluated in chunks.
"""

COLUMNS = (
    "model", "what it is", "paper preset from", "parameters",
    "work a token, training", "generation", "state", "resumes", "kernels",
)  # fmt: skip


def main(arguments: list[str]) -> int:
    text = page()
    if "--check" in arguments:
        return int(not FILE.is_file() or FILE.read_text(encoding="utf-8") != text)
    FILE.write_text(text, encoding="utf-8")
    return 0


def page() -> str:
    return "\n".join([HEAD, *_table(COLUMNS, _models()), "", *_mixers()]) + "\n"


def said_by_the_class(name: str) -> tuple[str, ...]:
    """The cells of a row that need nothing built: name, description, source, work a token."""
    cls = registry.get("models", name)
    paper = getattr(cls, "presets", {}).get("paper")
    source = "" if paper is None else paper.source
    return f"`{name}`", registry.describe("models", name), source, *getattr(cls, "complexity", ("", ""))


def _models() -> Iterator[tuple[str, ...]]:
    for name in registry.names("models"):
        cls = registry.get("models", name)
        paper = getattr(cls, "presets", {}).get("paper")
        spec = {"name": name, "preset": "paper"} if paper else name
        model: Any = build_to_count(spec, vocab_size=VOCABULARY)
        title, description, source, training, generation = said_by_the_class(name)
        yield (
            title,
            description,
            source,
            _parameters(paper, model),
            training,
            generation,
            _state(model),
            "yes" if can_resume(model) else "no",
            _kernels(cls, model),
        )


def _parameters(paper: Any, model: Any) -> str:
    if paper is not None and paper.parameters is not None:
        return quantity(paper.parameters)
    count = count_parameters(model)
    return f"~{quantity(count)}" if count else "none"


def _state(model: Any) -> str:
    one, two = (model.state_size(1, length) for length in (LENGTH, 2 * LENGTH))
    size = f"{one / 2**10:,.1f} KiB" if one < 2**20 else f"{one / 2**20:,.1f} MiB"
    return f"{size}, grows" if two > one else size


def _kernels(cls: Any, model: Any) -> str:
    names = list(cls.kernels()) if hasattr(cls, "kernels") else []
    if not names and getattr(model, "scan_backend", None):
        return "scans"
    return ", ".join(names)


def _mixers() -> Iterator[str]:
    yield "# Mixers"
    yield ""
    yield "Layers that drop into any level of Poolformer: `model: {name: poolformer, mixer: NAME}`."
    yield ""
    yield from _table(
        ("mixer", "what it is"),
        ((f"`{name}`", registry.describe("mixers", name)) for name in registry.names("mixers")),
    )


def _table(columns: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
