"""One registry for models, mixers, data sets, metrics, figures and trackers; ours and a stranger's alike.

Two ways in: an entry point of the group ``harness.<kind>`` (ours are declared the same way, in our
`pyproject.toml`), or a file named in a suite's `plugins:` that calls `register`. Listing imports
no plugin; a plugin is imported when it is asked for, and a broken one spoils only itself.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import tomllib
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from harness.cache import cache_root
from harness.errors import ConfigError, PluginError, did_you_mean

KINDS = ("models", "mixers", "datasets", "metrics", "figures", "trackers")

T = TypeVar("T", bound=type)

_registered: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}


def register(kind: str, name: str) -> Callable[[T], T]:
    """Class decorator: ``@register("models", "mine")``.

    Registering another class under a taken name raises PluginError; the same class again (a file
    loaded twice) replaces it.
    """
    _check_kind(kind)

    def decorate(cls: T) -> T:
        taken = _registered[kind].get(name)
        same = taken is not None and _identity(taken) == _identity(cls)
        if (taken is not None and not same) or name in _entry_points(kind):
            raise PluginError(
                f"cannot register {_identity(cls)} in {kind} as {name!r}: the name is taken by "
                f"{_identity(taken) if taken else _entry_points(kind)[name]}; choose another name"
            )
        _registered[kind][name] = cls
        return cls

    return decorate


def names(kind: str) -> list[str]:
    """All names of a kind, sorted. Imports nothing."""
    _check_kind(kind)
    return sorted({*_registered[kind], *_entry_points(kind)})


def get(kind: str, name: str) -> Any:
    """The registered class.

    Raises: ConfigError for an unknown name, PluginError for one that does not import.
    """
    _check_kind(kind)
    if name in _registered[kind]:
        return _registered[kind][name]
    if name not in _entry_points(kind):
        raise ConfigError("name", f"no {kind[:-1]} is called {name!r}; {did_you_mean(name, names(kind))}")
    target = _entry_points(kind)[name]
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, attribute)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"the {kind[:-1]} {name!r} ({target}) does not import: {_last_line(error)}"
            f"{_shadow_hint(module_name)}"
        ) from error


def describe(kind: str, name: str) -> str:
    """First line of the class's docstring, read from the source where that needs no import."""
    if name in _registered[kind]:
        return _first_line(_registered[kind][name].__doc__)
    try:
        return _first_line(ast.get_docstring(_source_of(kind, name)))
    except LookupError:
        return ""
    except (Exception, SystemExit) as error:  # looking for a module runs the packages that it is in
        return f"(broken: {_last_line(error)})"


def preset_names(name: str) -> list[str]:
    """Names of a model's presets, read like `describe`; those that its class itself spells out."""
    if name in _registered["models"]:
        return list(getattr(_registered["models"][name], "presets", {}))
    try:
        body = _source_of("models", name).body
    except (Exception, SystemExit):
        return []  # `describe` says why, in the same line of `harness list`
    for node in body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "presets":
            keys = node.value.keys if isinstance(node.value, ast.Dict) else ()
            return [str(key.value) for key in keys if isinstance(key, ast.Constant)]
    return []


def _source_of(kind: str, name: str) -> ast.ClassDef:
    """The class of an entry point, parsed, not imported.

    Raises: LookupError where its file only brings it from elsewhere, AttributeError where it does not
    even do that.
    """
    module_name, _, attribute = _entry_points(kind)[name].partition(":")
    spec = importlib.util.find_spec(module_name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module_name}")
    source = Path(spec.origin).read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            return node
    if not any(word in source for word in (attribute, "import *", "__getattr__")):
        raise AttributeError(f"{module_name} has no {attribute}")
    raise LookupError(attribute)


def origin(kind: str, name: str) -> str:
    """Where a name comes from, for `harness list` and error messages."""
    cls = _registered[kind].get(name)
    return _identity(cls) if cls is not None else _entry_points(kind)[name]


def load_plugin(path: str | Path, text: str | None = None) -> None:
    """Run a plugin file, whose `register` calls add to the registry. A second load does nothing.

    `text` is what the file has to say: where it is missing, or says something else by now, a copy in
    the cache folder takes its place.
    Raises: PluginError naming the file and the line at fault.
    """
    path = Path(path).resolve()
    if text is not None and not _says(path, text):
        path = _copy_in_cache(path.name, text)
    if not path.is_file():
        raise PluginError(f"plugin file not found: {path}")
    module_name = "harness_plugin_" + hashlib.sha256(str(path).encode()).hexdigest()[:12]
    if module_name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"a plugin must be a Python file (*.py): {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    before = {kind: dict(entries) for kind, entries in _registered.items()}
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        _registered.update(before)
        raise PluginError(f"plugin {path} failed{_line_in(error, path)}: {_last_line(error)}") from error


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _copy_in_cache(name: str, text: str) -> Path:
    """A file of that name and text; several processes may make it at once."""
    path = cache_root() / "plugins" / hashlib.sha256(text.encode()).hexdigest()[:16] / name
    if not _says(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(text.encode())
        temporary.replace(path)
    return path


@cache
def _entry_points(kind: str) -> dict[str, str]:
    """name -> "module:Class" of every installed entry point; of the checkout when not installed."""
    found = {e.name: e.value for e in _installed().select(group=f"harness.{kind}")}
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    if pyproject.is_file():  # a checkout: its own declarations hold, installed or not
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        found |= project["entry-points"].get(f"harness.{kind}", {})
    return found


@cache
def _installed() -> Any:
    """Of all packages: reading them takes long enough to do it once."""
    return importlib.metadata.entry_points()


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise PluginError(f"no registry of {kind!r}; {did_you_mean(kind, KINDS)}")


def _identity(cls: type) -> str:
    try:
        return f"{inspect.getsourcefile(cls)}:{cls.__qualname__}"
    except (TypeError, OSError):
        return f"{cls.__module__}:{cls.__qualname__}"


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0].strip()


def _last_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _line_in(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f" at line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f" at line {lines[-1]}" if lines else ""


def _shadow_hint(module_name: str) -> str:
    """Our top-level packages have common names; say so when another one is in the way."""
    top = module_name.partition(".")[0]
    home = Path(__file__).parents[1]
    module: Any = sys.modules.get(top)
    where = getattr(module, "__file__", None)
    if top in {"models", "baselines"} and where and home not in Path(where).resolve().parents:
        return f" (another package called {top!r} is in the way: {where})"
    return ""
