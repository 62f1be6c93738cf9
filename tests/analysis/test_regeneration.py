"""Everything that a report writes comes from the trial folders, each part from those it is about."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from harness.analysis.report import write_report
from harness.api import load_figure_data, measured_columns
from harness.cli.report import write_and_print
from harness.store.store import Store

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "pooling_ablation"
VARIANTS = ("base", "mixer=lru", "transformer", "unigram")
GONE = (("base", 0), ("mixer=lru", 1), ("unigram", 2))

TOGETHER = ("_corrected", "detectable", "verdict", "standing")
"""What a row of the summary says by the side of the others: the level is shared, the best is one of them."""
TO_BASE = (
    "pairs",
    "p",
    *(f"{name}{end}" for name in ("difference", "improvement") for end in ("", "_low", "_high")),
)
"""What it says by the side of the base, if a trial of that is gone."""


def write(folder):
    plan = Store(folder).read_plan()
    write_report(
        folder,
        load_figure_data(folder),
        title=plan["name"],
        question=plan["question"],
        columns=measured_columns(folder),
        figures=["memory"],
    )
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Some variants of the reference results, without anything that was made from their trials."""
    folder = tmp_path_factory.mktemp("results") / "reference"
    folder.mkdir()
    plan = json.loads((REFERENCE / "plan.json").read_text())
    plan["variants"] = [variant for variant in plan["variants"] if variant["name"] in VARIANTS]
    plan["figures"] = [{"name": "forest"}]
    (folder / "plan.json").write_text(json.dumps(plan))
    for trial in Store(folder).planned_trials():
        (source,) = (REFERENCE / "trials").glob(f"*{trial.short_key}")
        shutil.copytree(source, folder / "trials" / source.name)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    return write(folder)


@pytest.fixture(scope="module", params=GONE, ids=lambda gone: f"{gone[0]}-s{gone[1]}")
def lacking(request, folder, whole, tmp_path_factory):
    """Which trial's folder was deleted, and what was written without it."""
    copy = tmp_path_factory.mktemp("lacking") / "reference"
    shutil.copytree(folder, copy)
    variant, seed = request.param
    (trial,) = (each for each in Store(copy).planned_trials() if (each.variant, each.seed) == (variant, seed))
    shutil.rmtree(Store(copy).trial_folder(trial))
    return variant, seed, write(copy)


def rows(files, name):
    return list(csv.DictReader(files[Path(name)].decode().splitlines()))


def test_a_report_from_the_trials_alone_has_the_same_bytes_again(folder, whole):
    assert write(folder) == whole
    assert {Path("table.csv"), Path("summary.tex"), Path("figures/memory.svg")} <= whole.keys()


def test_all_that_the_command_writes_comes_back_byte_by_byte_after_it_was_deleted(folder, tmp_path, capsys):
    place = tmp_path / "reference"
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("figures", "table.*", "summary.*"))
    kept = {path for path in place.rglob("*") if path.is_file()}

    def outputs():
        write_and_print(place)
        return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and path not in kept}

    first = outputs()
    assert {place / "report.html", place / "table.parquet", place / "figures" / "forest.png"} <= first.keys()
    for path in first:
        path.unlink()
    assert outputs() == first


def test_a_deleted_trial_changes_its_own_row_of_the_table_and_no_other(whole, lacking):
    variant, seed, files = lacking
    before, after = (each[Path("table.csv")].decode().splitlines() for each in (whole, files))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0][0].startswith(f"{variant},{seed},") and ",missing," in changed[0][1]


def test_in_the_summary_it_changes_its_variant_and_what_variants_share(whole, lacking):
    variant, _, files = lacking
    for old, new in zip(rows(whole, "summary.csv"), rows(files, "summary.csv"), strict=True):
        changed = {name for name in old if old[name] != new[name]}
        if old["variant"] == variant:
            assert {"n_ok", "n_not_ok", "not_ok"} <= changed
            assert new["not_ok"] == "1 missing"
        else:
            allowed = (*TOGETHER, *(f"_{name}" for name in TO_BASE if variant == "base"))
            assert all(name.endswith(allowed) for name in changed), changed


def test_in_a_figure_it_changes_the_numbers_of_its_variant_alone(whole, lacking):
    variant, _, files = lacking
    numbers = [rows(each, "figures/memory.csv") for each in (whole, files)]
    changed = {old["variant"] for old, new in zip(*numbers, strict=True) if old != new}
    assert changed == {variant}
