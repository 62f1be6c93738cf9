"""`harness doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import typer

from harness.cli.format import console as make_console
from harness.errors import HarnessError, PluginError

Finding = tuple[str, str, str]
"""(area, ``ok`` | ``missing`` | ``broken``, words)"""


def add_to(app: typer.Typer) -> None:
    app.command(name="doctor")(doctor)


def doctor() -> None:
    """Say which parts work here: torch, GPU, ray, torchaudio, espeak-ng, plugins, caches.

    Example: harness doctor
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("part", "state", "detail"):
        table.add_column(name, overflow="fold")
    broken = False
    for area, state, words in _findings():
        broken |= state == "broken"
        style = {"ok": "green", "broken": "red"}.get(state, "yellow")
        table.add_row(area, Text(state, style), Text(words))
    make_console().print(table)
    if broken:
        raise typer.Exit(1)


def _findings() -> Iterator[Finding]:
    yield "python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}"
    for check in (_torch, _ray, _torchaudio, _synthesiser, _kernels, _plugins, _folders):
        try:
            yield from check()
        except Exception as error:  # one broken part must not hide the others
            yield check.__name__.strip("_"), "broken", f"{type(error).__name__}: {error}"


def _torch() -> Iterator[Finding]:
    import torch

    yield "torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads by default"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield "gpu", "ok", torch.cuda.get_device_name(index)
    else:
        yield "gpu", "missing", "no CUDA device: the laptop profile is the default"


def _ray() -> Iterator[Finding]:
    if importlib.util.find_spec("ray") is None:
        yield "ray", "missing", "`harness run --serial` works without it"
    else:
        yield "ray", "ok", importlib.metadata.version("ray")


def _torchaudio() -> Iterator[Finding]:
    from harness.data.torchaudio_import import parts

    for name, state in parts().items():
        works = state is True
        yield (
            f"torchaudio {name}",
            "ok" if works else "missing",
            "" if works else str(state or "not available"),
        )


def _synthesiser() -> Iterator[Finding]:
    found = importlib.util.find_spec("espeakng_loader") is not None
    words = importlib.metadata.version("espeakng-loader") if found else "synthetic_digits cannot be made"
    yield "espeak-ng", "ok" if found else "missing", words


def _kernels() -> Iterator[Finding]:
    """What registered models and mixers compute with here, as they say themselves."""
    from harness import registry

    seen = set()
    for kind in ("models", "mixers"):
        for name in registry.names(kind):
            try:
                report = getattr(registry.get(kind, name), "kernels", None)
            except PluginError:  # which `_plugins` names
                continue
            if report is None or report in seen:
                continue
            seen.add(report)
            for kernel, reason in report().items():
                yield f"kernel {kernel}", "ok" if reason is None else "missing", reason or ""
    found = importlib.util.find_spec("mamba_ssm") is not None
    yield "mamba_ssm", "ok" if found else "missing", "" if found else "optional (extra `cuda`)"


def _plugins() -> Iterator[Finding]:
    from harness import registry

    for kind in registry.KINDS:
        names = registry.names(kind)
        broken = []
        for name in names:
            try:
                registry.get(kind, name)
            except HarnessError as error:
                broken.append(str(error))
        if broken:
            yield kind, "broken", "; ".join(broken)
        else:
            yield kind, "ok", ", ".join(names)


def _folders() -> Iterator[Finding]:
    from harness.cache import cache_root

    root = cache_root()
    existing = next(parent for parent in (root, *root.parents) if parent.exists())
    state = "ok" if os.access(existing, os.W_OK) else "broken"
    yield "cache", state, f"{root} (HARNESS_CACHE moves it)"
    data = os.environ.get("HARNESS_DATA")
    if not data:
        yield "HARNESS_DATA", "missing", "not set: real data sets are downloaded when asked for"
    else:
        yield "HARNESS_DATA", "ok" if Path(data).is_dir() else "broken", data
