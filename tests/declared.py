"""What this project registers itself: tests register more, in the same process."""

import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared(kind: str) -> list[str]:
    """The names of our own entry points of a kind, sorted."""
    return sorted(PROJECT["entry-points"][f"harness.{kind}"])
