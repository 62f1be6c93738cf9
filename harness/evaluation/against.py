"""The data set that somebody means: by name, as a mapping, or the one of a suite or of results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import configuration, registry
from harness.errors import ConfigError, HarnessError
from harness.store.place import fetched
from harness.store.remote import is_url
from harness.store.store import Store
from harness.store.wanted import records
from harness.suite.source import read_scalar
from harness.suite.suite import load_suite


def data_of(text: str, profile: str | None = None) -> dict[str, Any]:
    """A complete data configuration.

    `text`: ``fsdd``; ``{name: fsdd, seconds: 0.5}``; a suite file, whose base's data are meant, in a
    profile; or a results folder or the URL of one.
    Raises: HarnessError saying what is wrong with it.
    """
    if is_url(text):
        return dict(_of_results(fetched(text, records)))
    path = Path(text)
    if path.suffix in {".yaml", ".yml"}:
        return dict(load_suite(path, profile=profile).variants[0].config["data"])
    if (path / "plan.json").is_file():
        return dict(_of_results(path))
    spec = read_scalar(text)
    if not isinstance(spec, str | Mapping):
        raise HarnessError(f"{text!r} names no data set; write e.g. fsdd or '{{name: fsdd, seconds: 0.5}}'")
    try:
        return configuration.resolve("datasets", spec).plain()
    except ConfigError as error:
        raise HarnessError(f"data set {text!r}: {error}") from None


def _of_results(folder: Path) -> Mapping[str, Any]:
    plan = Store(folder).read_plan()
    for file in plan["plugin_files"]:
        registry.load_plugin(file)
    return plan["variants"][0]["config"]["data"]
