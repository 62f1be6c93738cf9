"""`harness show`: a variant's configuration and who said each value; a trial's record with its provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path as Folder
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.format import console as make_console
from harness.cli.options import JsonOption, ProfileOption, ResultsOption, SetOption
from harness.errors import Path, did_you_mean, dotted

if TYPE_CHECKING:
    from harness.suite.suite import Suite, Variant


def add_to(app: typer.Typer) -> None:
    app.command(name="show")(show)


def show(
    suite: Annotated[str, typer.Argument(help="A suite file, a shipped suite's name, or a results folder.")],
    variant: Annotated[
        str | None,
        typer.Argument(
            help="One variant; default: the base. Of a results folder: a trial's key (four digits or more), "
            "or its name and seed: base-s0."
        ),
    ] = None,
    profile: ProfileOption = None,
    set_: SetOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a variant's complete configuration and where each value was said, or all that a trial left.

    Example: harness show pooling_ablation transformer --profile smoke

    Example: harness show results/pooling_ablation base-s0
    """
    from harness.errors import HarnessError
    from harness.execution.run_suite import results_folder
    from harness.store.place import fetched
    from harness.store.remote import is_url
    from harness.store.wanted import records
    from harness.suite.suite import load_suite
    from harness.tuning.stage import look_up, tuned

    if is_url(suite) or (Folder(suite) / "plan.json").is_file():
        from harness.cli.show_trial import show_trial

        if variant is None:
            raise HarnessError(f"name a trial of {suite}: `harness status {suite}` lists them")
        if profile or set_:
            raise HarnessError(
                "--profile and --set are for suites; a trial in a results folder has run already"
            )
        show_trial(fetched(suite, records), variant, as_json=as_json)
        return

    loaded = load_suite(suite, profile=profile, overrides=set_ or ())
    folder = None if results is None else fetched(results, records, must_exist=False)
    loaded = tuned(loaded, look_up(loaded, results_folder(loaded, folder)))
    named = {name: each for each in loaded.variants for name in (each.name, *each.aliases)}
    wanted = variant or loaded.base
    if wanted not in named:
        raise HarnessError(f"{loaded.name} has no variant {wanted!r}; {did_you_mean(wanted, named)}")
    chosen = named[wanted]
    if as_json:
        typer.echo(json.dumps(chosen.config, indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{loaded.name} · {wanted}", title_justify="left", box=None, pad_edge=False)
    for name in ("setting", "value", "from"):
        table.add_column(name, overflow="fold")
    for path, value in _leaves(chosen.config):
        source = _source(loaded, chosen, path)
        style = "dim" if source == "default" else ""
        table.add_row(Text(dotted(path), style), Text(json.dumps(value), style), Text(source, style))
    make_console().print(table)


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, value


def _source(suite: Suite, variant: Variant, path: Path) -> str:
    """``base (suites/x.yaml:7:3)``, ``--set data.name=fsdd`` or ``default``."""
    said = variant.settings.origin(path)
    if said is None:
        return "suite" if path[0] in {"measure", "plugins"} else "default"
    origin, rest = said
    if origin.document_path is None:
        return origin.place
    if rest and not _said(variant.settings.values, path):
        return "default"  # a component's own setting: `mixer: rg_lru` says its name alone
    return f"{origin.layer} ({suite.document.where((*origin.document_path, *rest))})"


def _said(values: Any, path: Path) -> bool:
    """Did the layers themselves say the value at `path`, rather than a class's default?"""
    for depth, part in enumerate(path):
        if isinstance(values, str):
            return path[depth:] == ("name",)
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
