"""Reading YAML with positions: every value knows its line and column.

Stricter than plain YAML where plain YAML surprises: a repeated key is an error, `2e-3` is a number,
only `true` and `false` are booleans (so a variant may be called `no`), and aliases may not blow a
small file up. Only plain data is read; no tag constructs an object.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError
from harness.errors import Path as KeyPath

MAXIMUM_NODES = 20_000
"""Values in a document, aliases expanded. Our largest suite has a few hundred."""

MAXIMUM_BYTES = 1_000_000

PLAIN_TAGS = frozenset({"map", "seq", "str", "int", "float", "bool", "null"})


class SuiteError(HarnessError):
    """A suite file that cannot be used; the message starts with file, line and column."""


@dataclass(frozen=True)
class Position:
    """Where a value stands; counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """A YAML file as plain data, with the position of every key path."""

    file: Path
    text: str
    data: Any
    positions: dict[KeyPath, Position]

    def where(self, path: KeyPath) -> str:
        """``file:line:column`` of the value at `path`, or of the nearest enclosing one."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.positions:
                position = self.positions[path[:end]]
                return f"{self.file}:{position.line}:{position.column}"
        return str(self.file)

    def error(self, path: KeyPath, message: str) -> SuiteError:
        return SuiteError(f"{self.where(path)}: {message}")


def read_document(file: Path) -> Document:
    """Read a YAML file.

    Raises: SuiteError for a file that is missing, a directory, not text, not YAML, or too large.
    """
    if file.is_dir():
        raise SuiteError(f"{file}: is a directory, expected a suite file (*.yaml)")
    try:
        if file.stat().st_size > MAXIMUM_BYTES:
            raise SuiteError(f"{file}: larger than {MAXIMUM_BYTES:,} bytes, which no suite is")
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SuiteError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{file}: cannot be read: {error}") from None
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        raise SuiteError(f"{place}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise SuiteError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise SuiteError(f"{file}: nested too deeply") from None
    if root is None:
        raise SuiteError(f"{file}: is empty")
    reader = _Reader(file)
    return Document(file, text, reader.read(root, ()), reader.positions)


def read_scalar(text: str) -> Any:
    """A value given on the command line, with the same rules as in a file: ``[2, 4]``, ``2e-3``, ``null``.

    Raises: SuiteError
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError:
        raise SuiteError(f"not a YAML value: {text!r}") from None
    return None if root is None else _Reader(Path("--set")).read(root, ())


class _Loader(yaml.SafeLoader):
    """SafeLoader with the YAML 1.2 rules for booleans and floats."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's own form
        first: [
            (tag, rule) for tag, rule in rules if tag.rpartition(":")[2] not in {"bool", "float", "timestamp"}
        ]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


class _Reader:
    """From YAML nodes to plain data, noting positions, counting nodes, refusing cycles."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.positions: dict[KeyPath, Position] = {}
        self.count = 0
        self.ancestors: list[int] = []
        self.constructor = yaml.SafeLoader("")

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        self.count += 1
        if self.count > MAXIMUM_NODES:
            raise self.error(node, f"more than {MAXIMUM_NODES:,} values once its aliases are expanded")
        if id(node) in self.ancestors:
            raise self.error(node, "an alias refers to the value that contains it")
        self.positions[path] = Position(node.start_mark.line + 1, node.start_mark.column + 1)
        self.ancestors.append(id(node))
        try:
            return self.convert(node, path)
        finally:
            self.ancestors.pop()

    def convert(self, node: yaml.Node, path: KeyPath) -> Any:
        if node.tag.rpartition(":")[2] not in PLAIN_TAGS:
            raise self.error(node, f"the tag {node.tag!r} is not allowed; a suite holds plain data")
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error(key_node, "a key must be a plain word")
            key = str(key_node.value)
            if key in result:
                raise self.error(key_node, f"{key!r} is given twice")
            result[key] = self.read(value_node, (*path, key))
            # An error about a value should point at its key.
            self.positions[(*path, key)] = Position(
                key_node.start_mark.line + 1, key_node.start_mark.column + 1
            )
        return result

    def scalar(self, node: yaml.Node) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind == "float" and re.fullmatch(r"[-+]?[0-9]+", node.value):
            kind = "int"
        if kind == "int":
            decimal = node.value.lstrip("+-").isdigit()  # 010 is ten, not octal
            return int(node.value, 10 if decimal else 0)
        if kind == "float":
            return float(node.value.replace(".inf", "inf").replace(".nan", "nan").replace(".Inf", "inf"))
        return self.constructor.construct_object(node)

    def error(self, node: yaml.Node, message: str) -> SuiteError:
        return SuiteError(f"{self.file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: {message}")
