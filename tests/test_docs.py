"""docs/models.md says what the registered classes say now."""

import importlib.util
from pathlib import Path

import pytest
from declared import declared

from harness import registry

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate_models", DOCS / "generate_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows():
    """first cell -> the cells of each row of the two tables."""
    lines = (DOCS / "models.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("| `")]
    return {(len(row), row[0]): row for row in cells}


CURE = "docs/models.md is out of date: run `python docs/generate_models.py`"


@pytest.mark.parametrize("name", declared("models"))
def test_a_model_has_its_row_as_its_class_says_it(generate, rows, name):
    row = rows.get((len(generate.COLUMNS), f"`{name}`"))
    assert row is not None, CURE
    assert (*row[:3], *row[4:6]) == generate.said_by_the_class(name), CURE
    assert all(row[4:6]), f"{name} does not say how its work grows; give its class `complexity`"


def test_every_mixer_has_a_row(rows):
    said = {row[0]: row[1] for (columns, _), row in rows.items() if columns == 2}
    assert said == {f"`{name}`": registry.describe("mixers", name) for name in declared("mixers")}, CURE


def test_nothing_is_listed_that_is_not_registered(generate, rows):
    listed = {row[0].strip("`") for (columns, _), row in rows.items() if columns == len(generate.COLUMNS)}
    assert listed == set(declared("models")), CURE
