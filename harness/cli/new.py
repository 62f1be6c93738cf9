"""`harness new`: a plugin that works, its test and its suite, to start from."""

from __future__ import annotations

import keyword
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import HarnessError

SCAFFOLD = Path(__file__).parents[1] / "scaffold"


class Kind(StrEnum):
    BASELINE = "baseline"
    MIXER = "mixer"
    DATASET = "dataset"
    METRIC = "metric"
    FIGURE = "figure"
    TRACKER = "tracker"

    @property
    def registry(self) -> str:
        return "models" if self is Kind.BASELINE else f"{self.value}s"


def add_to(app: typer.Typer) -> None:
    app.command(name="new")(new)


def new(
    kind: Annotated[Kind, typer.Argument(help="What to write.")],
    name: Annotated[str, typer.Argument(help="Its name in suites and of its file, e.g. my_rnn.")],
    directory: Annotated[
        Path, typer.Option("--directory", "-d", metavar="D", help="Where to; made where it is missing.")
    ] = Path(),
) -> None:
    """Write a plugin that works as it is, a test and a suite. Never overwrites a file.

    Example: harness new baseline my_rnn
    """
    _check_name(kind, name)
    texts = {
        directory / f"{name}.py": _filled(f"{kind}.py", name),
        directory / f"test_{name}.py": _filled("test_of_plugin.py", name),
        directory / f"{name}.yaml": _filled(f"{kind}.yaml", name),
    }
    _write(texts)
    plugin, test, suite = texts
    typer.echo(f"wrote {plugin}, {test} and {suite}. Next:")
    typer.echo(f"  harness check {plugin}     # does it keep the laws?")
    typer.echo(f"  harness run {suite} --set seeds=1")


def _check_name(kind: Kind, name: str) -> None:
    from harness import registry

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        hint = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789") or "my_model"
        raise HarnessError(
            f"{name!r} cannot be a name: lower-case letters, digits and _, such as "
            f"{hint if not keyword.iskeyword(hint) else f'my_{hint}'}"
        )
    if name in registry.names(kind.registry):
        raise HarnessError(
            f"{name!r} is the name of one of the {kind.registry} already "
            f"({registry.origin(kind.registry, name)}); choose another, such as my_{name}"
        )


def _filled(template: str, name: str) -> str:
    text = (SCAFFOLD / template).read_text(encoding="utf-8")
    class_name = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("template_name", name).replace("TemplateName", class_name)


def _write(texts: dict[Path, str]) -> None:
    """All of them or none."""
    if taken := [str(path) for path in texts if path.exists()]:
        raise HarnessError(f"{', '.join(taken)}: there already; nothing was written")
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        raise HarnessError(f"{path}: cannot be written ({error.strerror})") from None
