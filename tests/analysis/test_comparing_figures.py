"""Figures that compare: differences to the base, splits, seeds, settings, budgets."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from harness.analysis.figures.scaling import fit
from harness.analysis.summary import summarise
from harness.contracts import Column, FigureData, NotEnoughData
from tests.analysis.test_figures import build, texts

TRAINED = ("forest", "generalization", "seeds")


@pytest.fixture(scope="module")
def grid():
    """Depth by pooling, three seeds, with a law that is known: nll = 3 parameters^-0.1 pooling^0.02."""
    noise = np.random.default_rng(0)
    rows = [
        {
            "variant": f"layers={layers}, pooling={pooling}",
            "seed": seed,
            "key": f"{layers}-{pooling}-{seed}",
            "status": "ok",
            "model": "poolformer",
            "mixer": "rg_lru",
            "pooling": pooling,
            "layers": str(layers),
            "width": "64",
            "parameters": 1e5 * layers,
            "nll_bits_test": 3 * (1e5 * layers) ** -0.1 * factor**0.02 * np.exp(noise.normal(0, 1e-3)),
        }
        for layers in (1, 2, 4, 8)
        for pooling, factor in (("[2, 2]", 4), ("[4, 4]", 16), ("[2, 10]", 20))
        for seed in range(3)
    ]
    table = pd.DataFrame(rows)
    history = pd.DataFrame(columns=["key", "variant", "seed", "step", "nll_bits_validation"])
    variants = list(dict.fromkeys(table["variant"]))
    return FigureData(table=table, history=history, variants=variants, base=variants[0])


@pytest.mark.parametrize("name", TRAINED)
def test_every_kind_draws_a_realistic_suite_without_what_was_only_counted(name, data):
    shown = " ".join(texts(build(name).draw(data)).split())
    assert "Not shown: markov, unigram, counted and not trained." in shown
    assert not {"markov", "unigram"} & {*build(name).numbers(data)["variant"]}


@pytest.mark.parametrize("name", [*TRAINED, "scaling", "heat_map"])
def test_every_kind_says_in_one_line_that_nothing_was_measured(name, data):
    empty = dataclasses.replace(
        data, table=data.table.iloc[:0], history=pd.DataFrame(columns=[*data.history.columns])
    )
    with pytest.raises(NotEnoughData) as refused:
        build(name).draw(empty)
    assert "\n" not in str(refused.value) and len(str(refused.value)) > 20


def test_a_forest_shows_differences_paired_by_seed(data):
    numbers = build("forest", columns=["nll_bits_test"]).numbers(data).set_index("variant")
    values = data.table.set_index(["variant", "seed"])["nll_bits_test"].astype(float)
    assert numbers.loc["layers=1", "mean"] == pytest.approx((values["layers=1"] - values["base"]).mean())
    assert numbers.loc["mixer=attention", "n"] == 2  # one of its seeds diverged
    assert "base" not in numbers.index and "layers=4" not in numbers.index


def test_a_forest_shows_what_the_verdict_of_the_table_goes_by(data, columns):
    numbers = build("forest", columns=["nll_bits_test"]).numbers(data).set_index("variant")
    summary = summarise(data.table, columns, data.variants, data.base).set_index("variant")
    apart = (numbers["low_corrected"] > 0) | (numbers["high_corrected"] < 0)
    assert apart.any() and not apart.all()
    for variant, row in numbers.iterrows():
        said = summary.loc[variant]
        assert row["verdict"] == said["nll_bits_test_verdict"]
        assert apart[variant] == (row["verdict"] in {"better", "worse"})
        assert row["low_corrected"] == pytest.approx(said["nll_bits_test_difference_low_corrected"])
        assert row["low_corrected"] <= row["low"] <= row["mean"] <= row["high"] <= row["high_corrected"]
    shown = " ".join(texts(build("forest").draw(data)).split())
    assert "thick bar: 95 %" in shown and "thin bar: widened for all comparisons" in shown


@pytest.fixture
def judged(data, columns):
    """Four variants with a result of a stranger's metric, of which more is better."""
    names = ["base", "pooling=[1,1,1,1]", "pooling=[2,1,1,1]", "pooling=[2,2,2,2]"]
    table = data.table[data.table["variant"].isin(names)].copy()
    table["applause"] = 100.0 + 10.0 * table["variant"].map(names.index) + 0.1 * table["seed"]
    columns["applause"] = Column(description="how loud", unit="dB", better="higher")
    return dataclasses.replace(data, table=table, variants=names, columns=columns)


@pytest.mark.parametrize(
    "kind",
    [
        {"name": "pareto", "y": "applause"},
        {"name": "pareto", "x": "applause", "y": "train_step_ms"},
        {"name": "pooling_sweep", "columns": ["applause"]},
        {"name": "scaling", "x": "train_step_ms", "y": "applause"},
        {"name": "seeds", "column": "applause"},
    ],
    ids=lambda kind: "-".join(str(value) for value in kind.values()),
)
def test_the_axis_of_a_strangers_result_says_its_unit_and_which_way_is_better(kind, judged):
    shown = " ".join(texts(build(**kind).draw(judged)).split())
    assert "Applause (dB)" in shown.replace(",", "") and "higher is better" in shown


def test_figures_go_by_the_direction_that_a_strangers_metric_declares(judged):
    numbers = build("pareto", y="applause").numbers(judged)
    assert {*numbers.loc[numbers["on_front"], "variant"]} == {
        "base",
        "pooling=[2,2,2,2]",
    }  # cheapest, loudest
    verdicts = build("forest", columns=["applause"]).numbers(judged).set_index("variant")["verdict"]
    assert {*verdicts} == {"better"}
    assert "better →" in texts(build("forest", columns=["applause"]).draw(judged))


@pytest.mark.parametrize(("better", "colours"), [("lower", "cividis_r"), ("higher", "cividis")])
def test_a_heat_map_is_brightest_where_a_strangers_result_is_best(better, colours, grid):
    table = grid.table.assign(applause=grid.table["parameters"])
    columns = {"applause": Column(description="how loud", unit="dB", better=better)}
    figure = build("heat_map", column="applause").draw(
        dataclasses.replace(grid, table=table, columns=columns)
    )
    assert figure.axes[0].images[0].cmap.name == colours
    assert f"{better} is better" in texts(figure)


def test_one_seed_has_points_and_no_interval(make_data):
    shown = texts(build("forest").draw(make_data(seeds=1, failed={})))
    assert "one pair of seeds each" in shown and "interval" not in shown


def test_each_trial_is_a_point_of_its_variant(data):
    numbers = build("seeds", column="train_step_ms").numbers(data)
    ok = data.table[(data.table["status"] == "ok") & data.table["train_step_ms"].notna()]
    assert len(numbers) == len(ok)
    assert sorted(numbers["train_step_ms"]) == pytest.approx(sorted(ok["train_step_ms"].astype(float)))


def test_a_heat_map_has_a_cell_for_each_pair_of_settings_by_their_size(grid):
    numbers = build("heat_map").numbers(grid)
    assert len(numbers) == 12 and (numbers["n"] == 3).all()
    axes = build("heat_map").draw(grid).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["[2, 2]", "[4, 4]", "[2, 10]"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1", "2", "4", "8"]


def test_a_suite_without_a_grid_has_no_heat_map(data):
    with pytest.raises(NotEnoughData, match="grid"):
        build("heat_map").draw(data)


def test_a_law_is_found_again_with_its_interval(grid):
    same = grid.table[grid.table["pooling"] == "[2, 2]"]
    law = fit(same, "parameters", "nll_bits_test")
    assert law.low < -0.1 < law.high and law.high - law.low < 0.01
    assert law.exponent == pytest.approx(-0.1, abs=2e-3)
    middle, band = law.line(np.array([1e5, 8e5]))
    assert middle == pytest.approx(3 * np.array([1e5, 8e5]) ** -0.1 * 4**0.02, rel=3e-3)
    assert (band > 1).all() and (band < 1.005).all()


def test_a_scaling_figure_names_the_exponent_and_its_interval(grid):
    assert "poolformer: exponent −0.1" in texts(build("scaling").draw(grid))
    with pytest.raises(NotEnoughData, match="3 different values of width"):
        table = grid.table.assign(width=64.0)
        build("scaling", x="width").draw(dataclasses.replace(grid, table=table))


def test_learning_curves_can_be_drawn_over_operations(data):
    table = data.table.assign(flops_per_token=2000.0)
    points = build("learning_curve", x="flops").numbers(dataclasses.replace(data, table=table))
    curves = points.dropna(subset=["x"])
    assert curves["x"].max() == 3 * 2000.0 * data.history["tokens"].max()
    with pytest.raises(NotEnoughData, match="count of operations"):
        build("learning_curve", x="flops").draw(data)
