"""Reading YAML with positions: every value knows its line and column.

Stricter than plain YAML where plain YAML surprises: a repeated key is an error, `2e-3` is a number and
`1:30` is none, only `true` and `false` are booleans (so a variant may be called `no`), and aliases may not
blow a small file up. Only plain data is read; no tag constructs an object.
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

MAXIMUM_DEPTH = 50
"""Of values in values. Our deepest suite has eight."""

MAXIMUM_DIGITS = 100
"""Of a whole number: Python itself refuses to read or print very long ones."""

TAGS: dict[type[yaml.Node], frozenset[str]] = {
    yaml.MappingNode: frozenset({"tag:yaml.org,2002:map"}),
    yaml.SequenceNode: frozenset({"tag:yaml.org,2002:seq"}),
    yaml.ScalarNode: frozenset(
        f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")
    ),
}
"""Kind of node -> what it may be said to be."""


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
    root = _composed(text, str(file))
    if root is None:
        raise SuiteError(f"{file}: is empty")
    reader = _Reader(file)
    return Document(file, text, reader.read(root, ()), reader.positions)


def read_scalar(text: str) -> Any:
    """A value given on the command line, with the same rules as in a file: ``[2, 4]``, ``2e-3``, ``null``.

    Raises: SuiteError
    """
    root = _composed(text, "")
    return None if root is None else _Reader(None).read(root, ())


def _composed(text: str, file: str) -> yaml.Node | None:
    """The tree of a text. Raises: SuiteError, with the place unless `file` is empty."""
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        problem = error.problem or error.context or "it cannot be read"
    except yaml.YAMLError as error:
        place, problem = file, " ".join(str(error).split())
    except (ValueError, OverflowError):  # an escape beyond Unicode, a version with thousands of digits
        place, problem = file, "a number in it is too large"
    except RecursionError:
        place, problem = file, "nested too deeply"
    raise SuiteError(
        f"{place}: not valid YAML: {problem}" if file else f"not a YAML value: {problem}"
    ) from None


class _Loader(yaml.SafeLoader):
    """SafeLoader with the YAML 1.2 rules for booleans and numbers (and `1_000`, as Python writes it)."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's own form
        first: [
            (tag, rule)
            for tag, rule in rules
            if tag.rpartition(":")[2] not in {"bool", "float", "int", "timestamp"}
        ]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


RULES = {
    "bool": (re.compile(r"^(true|false)$"), "tf"),
    "int": (re.compile(r"^[-+]?([0-9]+(_[0-9]+)*|0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)$"), "-+0123456789"),
    "float": (
        re.compile(
            r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
        ),
        "-+0123456789.",
    ),
}
"""How a word has to look to be no text, and how it may begin; the first that fits decides."""

for _kind, (_rule, _first) in RULES.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _rule, list(_first))


class _Reader:
    """From YAML nodes to plain data, noting positions, counting nodes, refusing cycles."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.positions: dict[KeyPath, Position] = {}
        self.count = 0
        self.ancestors: list[int] = []

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        self.count += 1
        if self.count > MAXIMUM_NODES:
            raise self.error(node, f"more than {MAXIMUM_NODES:,} values once its aliases are expanded")
        if id(node) in self.ancestors:
            raise self.error(node, "an alias refers to the value that contains it")
        if len(path) > MAXIMUM_DEPTH:
            raise self.error(node, f"nested too deeply: {MAXIMUM_DEPTH} values in one another are enough")
        self.positions[path] = Position(node.start_mark.line + 1, node.start_mark.column + 1)
        self.ancestors.append(id(node))
        try:
            return self.convert(node, path)
        finally:
            self.ancestors.pop()

    def convert(self, node: yaml.Node, path: KeyPath) -> Any:
        if node.tag not in TAGS[type(node)]:
            if node.tag == "tag:yaml.org,2002:merge":
                raise self.error(node, "`<<` merges nothing here; a variant has `extends` for that")
            raise self.error(node, f"the tag {node.tag!r} is not allowed here; a suite holds plain data")
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
            if key_node.tag == "tag:yaml.org,2002:merge":
                self.convert(key_node, path)
            key = self.text(key_node)
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
        if kind == "str":
            return self.text(node)
        if kind == "null":
            return None
        if not RULES[kind][0].match(node.value):  # a tag has said so: `!!int five`
            raise self.error(node, f"{node.value!r} is no {kind}")
        if kind == "bool":
            return node.value == "true"
        if kind == "int":
            return self.whole(node)
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))

    def whole(self, node: yaml.Node) -> int:
        if len(node.value) > MAXIMUM_DIGITS:
            raise self.error(node, f"a whole number of more than {MAXIMUM_DIGITS} digits")
        decimal = node.value.lstrip("+-").replace("_", "").isdigit()  # 010 is ten, not octal
        return int(node.value, 10 if decimal else 0)

    def text(self, node: yaml.Node) -> str:
        """What no file name, table or terminal could hold is refused where it stands."""
        value = str(node.value)
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise self.error(node, f"{value!r} has a character that is no text")
        return value

    def error(self, node: yaml.Node, message: str) -> SuiteError:
        if self.file is None:
            return SuiteError(message)
        return SuiteError(f"{self.file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: {message}")
