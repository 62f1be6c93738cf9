"""Everything that a report writes comes from the trial folders, each part from those it is about."""

import csv
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from harness.analysis.report import write_report
from harness.api import load_figure_data, measured_columns
from harness.cli.report import write_and_print
from harness.configuration import build
from harness.store.store import Store

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "pooling_ablation"
VARIANTS = ("base", "pooling=[1,1,1,1]", "mixer=lru", "transformer", "unigram")
GONE = (("base", 0), ("mixer=lru", 1), ("unigram", 2))

TOGETHER = ("_corrected", "detectable", "verdict", "standing")
"""What a row of the summary says by the side of the others: the level is shared, the best is one of them."""
TO_BASE = (
    "pairs",
    "p",
    *(f"{name}{end}" for name in ("difference", "improvement") for end in ("", "_low", "_high")),
)
"""What it says by the side of the base, if a trial of that is gone."""
FIGURES = (
    *("learning_curve", "pareto", "pooling_sweep", "memory", "forest", "generalization", "seeds"),
    {"name": "learning_curve", "x": "seconds"},
)
SHARED = {"pareto": {"on_front"}, "forest": {"low_corrected", "high_corrected", "verdict"}}
"""Of the numbers of a figure, those that a variant has by the side of the others."""


def write(folder):
    plan = Store(folder).read_plan()
    write_report(
        folder,
        load_figure_data(folder),
        title=plan["name"],
        question=plan["question"],
        columns=measured_columns(folder),
        figures=["memory", "pooling_sweep"],
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


def numbers(folder):
    """What every kind of figure draws."""
    data = load_figure_data(folder)
    return [build("figures", figure).numbers(data) for figure in FIGURES]


def section(page, name):
    return re.search(rf'<section id="{name}">.*?</section>', page, re.DOTALL)[0]


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


def test_a_figure_of_others_keeps_every_byte(whole, lacking):
    variant, _, files = lacking
    names = {path for path in whole if path.stem == "pooling_sweep"}
    assert len(names) == 3
    changed = {path for path in names if files[path] != whole[path]}
    assert changed == (names if variant == "base" else set())


def test_whichever_trial_is_deleted_the_numbers_of_other_variants_stay_in_every_figure(folder, tmp_path):
    place = tmp_path / "reference"
    shutil.copytree(folder, place)
    store, whole = Store(place), numbers(place)
    for trial in store.planned_trials():
        away = store.trial_folder(trial).rename(tmp_path / "away")
        for figure, before, after in zip(FIGURES, whole, numbers(place), strict=True):
            own = before["variant"] == trial.variant
            if own.any() and trial.variant != "unigram":  # all of whose seeds count the same
                assert not before[own].equals(after[after["variant"] == trial.variant]), figure
            if figure == "forest" and trial.variant == "base":
                continue  # all of it are differences to the base
            before, after = (
                each[each["variant"] != trial.variant]
                .drop(columns=SHARED.get(str(figure), set()))
                .reset_index(drop=True)
                for each in (before, after)
            )
            pd.testing.assert_frame_equal(before, after, obj=f"{figure} without {trial.short_key}")
        away.rename(store.trial_folder(trial))


def test_in_the_page_it_changes_its_own_row_of_the_trials_and_is_among_the_failures(folder, tmp_path, capsys):
    place = tmp_path / "reference"
    shutil.copytree(folder, place)
    write_and_print(place)
    before = (place / "report.html").read_text(encoding="utf-8")
    (trial,) = (each for each in Store(place).planned_trials() if (each.variant, each.seed) == GONE[1])
    shutil.rmtree(Store(place).trial_folder(trial))
    write_and_print(place)
    after = (place / "report.html").read_text(encoding="utf-8")
    trials = [section(page, "trials").split("<tr>") for page in (before, after)]
    changed = [(old, new) for old, new in zip(*trials, strict=True) if old != new]
    assert len(changed) == 1 and trial.short_key in changed[0][0] and "missing" in changed[0][1]
    assert section(before, "variants") == section(after, "variants")
    assert 'id="failures"' not in before and trial.short_key in section(after, "failures")


def test_figures_are_told_what_metrics_say_of_their_columns(folder):
    columns = load_figure_data(folder).columns
    assert columns == measured_columns(folder) and columns["nll_bits_test"].better == "lower"
