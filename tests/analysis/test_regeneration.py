"""Everything that a report writes comes from the trial folders, each part from those it is about."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from harness.analysis.report import write_report
from harness.api import load_figure_data, measured_columns
from harness.store.store import Store

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "pooling_ablation"
VARIANTS = ("base", "mixer=lru", "transformer", "unigram")
GONE = ("mixer=lru", 1)

TOGETHER = ("_corrected", "detectable", "verdict", "standing")
"""What a row of the summary says by the side of the others: the level is shared, the best is one of them."""


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
    (folder / "plan.json").write_text(json.dumps(plan))
    for trial in Store(folder).planned_trials():
        (source,) = (REFERENCE / "trials").glob(f"*{trial.short_key}")
        shutil.copytree(source, folder / "trials" / source.name)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    return write(folder)


@pytest.fixture(scope="module")
def lacking(folder, whole):
    """Written again after one trial's folder was deleted."""
    data = load_figure_data(folder)
    row = data.table[(data.table["variant"] == GONE[0]) & (data.table["seed"] == GONE[1])]
    (trial,) = (folder / "trials").glob(f"*{row['key'].iloc[0]}")
    shutil.rmtree(trial)
    return write(folder)


def rows(files, name):
    return list(csv.DictReader(files[Path(name)].decode().splitlines()))


def test_a_report_from_the_trials_alone_has_the_same_bytes_again(folder, whole):
    assert write(folder) == whole
    assert {Path("table.csv"), Path("summary.tex"), Path("figures/memory.svg")} <= whole.keys()


def test_a_deleted_trial_changes_its_own_row_of_the_table_and_no_other(whole, lacking):
    before, after = (files[Path("table.csv")].decode().splitlines() for files in (whole, lacking))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0][0].startswith("mixer=lru,1,") and ",missing," in changed[0][1]


def test_in_the_summary_it_changes_its_variant_and_what_variants_share(whole, lacking):
    for old, new in zip(rows(whole, "summary.csv"), rows(lacking, "summary.csv"), strict=True):
        changed = {name for name in old if old[name] != new[name]}
        if old["variant"] == GONE[0]:
            assert {"n_ok", "n_not_ok", "not_ok", "nll_bits_test_mean", "nll_bits_test_p"} <= changed
            assert new["not_ok"] == "1 missing"
        else:
            assert all(name.endswith(TOGETHER) for name in changed), changed


def test_in_a_figure_it_changes_the_numbers_of_its_variant_alone(whole, lacking):
    numbers = [rows(files, "figures/memory.csv") for files in (whole, lacking)]
    changed = {old["variant"] for old, new in zip(*numbers, strict=True) if old != new}
    assert changed == {GONE[0]}
