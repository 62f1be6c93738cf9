"""`harness data`: data sets on this machine: what there is, getting, verifying and looking at them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.format import console as make_console
from harness.cli.options import JsonOption
from harness.errors import ConfigError, HarnessError, PluginError

group = typer.Typer(
    name="data",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Data sets on this machine: what there is, getting, verifying and looking at them.\n\n"
    "Example: harness data info fsdd",
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group)


DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A data set, see `harness data list`, or a mapping as in a suite: '{name: fsdd, seconds: 0.5}'.",
    ),
]
EXPECTED = "write a name, such as fsdd, or a mapping, such as '{name: fsdd, seconds: 0.5}'"
SettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="SETTING=VALUE", help="Of the data set, e.g. path=~/sc09. Repeatable."
    ),
]


@group.command(name="list")
def list_(as_json: JsonOption = False) -> None:
    """List the data sets, the size of a clip, and where their files are.

    Example: harness data list
    """
    from harness import registry

    rows = {name: _row(name) for name in registry.names("datasets")}
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "clip", "where", "what"):
        table.add_column(heading, overflow="fold")
    for name, row in rows.items():
        table.add_row(name, row["clip"], row["where"], row["what"])
    make_console().print(table, markup=False, highlight=False)


def _row(name: str) -> dict[str, str]:
    """Of a data set with its defaults; reads no sound."""
    from harness import configuration, registry

    row = {"what": registry.describe("datasets", name), "clip": "", "where": ""}
    try:
        found = configuration.resolve("datasets", name)
    except ConfigError as error:
        return row | {"where": f"needs {error}"}
    except PluginError as error:
        return row | {"where": f"broken: {error}"}
    config, rate = found.config, found.config.sample_rate
    row["clip"] = f"{config.length / rate:g} s at {rate / 1000:g} kHz" if rate else f"{config.length} tokens"
    if located := getattr(found.cls, "located", None):
        row["where"] = located(config)
    return row


@group.command()
def fetch(data: DataArgument, settings: SettingOption = None) -> None:
    """Get a data set: find or download its files, check them, make its tokens.

    A download that broke off goes on where it was. Example: harness data fetch sc09
    """
    name, dataset, config = _build(data, settings)
    clips = ", ".join(f"{count:,} {split}" for split, count in dataset.provenance.clips.items())
    typer.echo(f"{name} is ready: {dataset.provenance.version}, {clips}")
    if located := getattr(type(dataset), "located", None):
        typer.echo(f"files: {located(config)}")
    for remark in dataset.provenance.notes:
        typer.echo(f"note: {remark}")


@group.command()
def verify(data: DataArgument, settings: SettingOption = None) -> None:
    """Read files and tokens again and compare them with their checksums.

    Damage is an error; damaged tokens are removed, and made anew at the next use.
    Example: harness data verify fsdd
    """
    name, dataset, _ = _build(data, settings)
    check = getattr(dataset, "verify", None)
    if check is None:
        raise HarnessError(f"the data set {name} has no way to verify itself (a method `verify`)")
    for line in check():
        typer.echo(f"ok: {line}")


@group.command()
def info(
    data: DataArgument,
    settings: SettingOption = None,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", "-f", metavar="STEM", help="Draw clips into STEM.png and STEM.svg."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a data set is: splits, hours, labels, licence, checksums, quantisation.

    Example: harness data info fsdd --figure fsdd
    """
    from harness.data.description import describe

    name, dataset, config = _build(data, settings)
    about = describe(dataset, config)
    if as_json:
        typer.echo(json.dumps({"name": name, **about}, indent=1))
    else:
        _show(name, about)
    if figure is not None:
        _draw(dataset, name, figure)


def _build(data: str, settings: list[str] | None) -> tuple[str, Any, Any]:
    """Name, data set and configuration; `settings` go over those of a mapping."""
    from harness import configuration

    spec = {**_spec(data), **dict(map(_setting, settings or ()))}
    try:
        found = configuration.resolve("datasets", spec)
    except ConfigError as error:
        raise HarnessError(f"data set {data}: {error} (say it with --set)") from None
    return found.name, found.cls(found.config), found.config


def _spec(data: str) -> dict[str, Any]:
    from harness.suite.source import SuiteError, read_scalar

    try:
        said = read_scalar(data)
    except SuiteError as error:
        raise HarnessError(f"data set {data}: {error}; {EXPECTED}") from None
    if isinstance(said, dict):
        return said
    if isinstance(said, list):
        raise HarnessError(f"data set {data}: is a list; {EXPECTED}")
    return {"name": data}


def _setting(text: str) -> tuple[str, Any]:
    from harness.suite.source import read_scalar

    setting, separator, value = text.partition("=")
    setting = setting.strip().removeprefix("data.")  # as in `harness run`
    if not separator or not setting:
        raise HarnessError(f"--set {text}: expected SETTING=VALUE, such as seconds=0.5")
    return setting, read_scalar(value)


def _show(name: str, about: dict[str, Any]) -> None:
    from rich.table import Table

    rate, length = about["sample_rate"], about["length"]
    seconds = f" ({length / rate:g} s at {rate:,} Hz)" if rate else ""
    lines = {
        "source": about["source"],
        "version": about["version"],
        "licence": about["licence"],
        "clip": f"{length:,} tokens{seconds}, of {about['vocab_size']}; padding is masked by true lengths",
        "quantisation": _quantisation(about),
        "start": f"token {about['vocab_size'] // 2}, put before each clip by the models, not stored",
        "files sha256": about.get("files_sha256", ""),
        "tokens sha256": about["tokens_sha256"],
        "notes": "\n".join(about["notes"]),
    }
    out = make_console()
    head = Table(box=None, pad_edge=False, show_header=False)
    head.add_column(style="bold", no_wrap=True)
    head.add_column(overflow="fold")
    for what, words in {"data set": name, **lines}.items():
        if words:
            head.add_row(what, words)
    out.print(head, markup=False, highlight=False)
    out.print()
    splits = Table(box=None, pad_edge=False, header_style="bold")
    splits.add_column("split")
    for heading in ("clips", "hours", "samples", "shortest", "longest", "padded"):
        splits.add_column(heading, justify="right")
    for split, found in about["splits"].items():
        numbers = (found["samples"], found["shortest"], found["longest"], found["padded_clips"])
        hours = f"{found['hours']:.3g}" if "hours" in found else ""
        splits.add_row(split, f"{found['clips']:,}", hours, *(f"{number:,}" for number in numbers))
    out.print(splits, markup=False, highlight=False)
    if labels := about.get("labels"):
        out.print()
        out.print(_labels(labels), markup=False, highlight=False)


def _labels(labels: dict[str, dict[str, int]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("label")
    for split in next(iter(labels.values())):
        table.add_column(split, justify="right")
    table.add_column("")
    most = max(sum(counts.values()) for counts in labels.values())
    for label, counts in labels.items():
        bar = "█" * round(30 * sum(counts.values()) / most) if most else ""
        table.add_row(label, *(f"{count:,}" for count in counts.values()), bar)
    return table


def _quantisation(about: dict[str, Any]) -> str:
    if "quantiser" not in about:
        return ""
    stretch = (
        "each clip or segment stretched to span all levels by itself" if about["min_max"] else "full scale"
    )
    return f"8 bits, {about['quantiser']}, {stretch}, recipe {about['recipe']}"


def _draw(dataset: Any, name: str, stem: Path) -> None:
    from harness.analysis.dataset_figure import draw
    from harness.analysis.style import save
    from harness.store.atomic import replacing

    picture = draw(dataset, name)
    for suffix in (".png", ".svg"):
        path = stem.with_name(stem.name + suffix)
        with replacing(path) as temporary:
            save(picture, temporary)
        typer.echo(f"wrote {path}")
