import dataclasses

import numpy as np
import pandas as pd
import pytest

from harness import configuration
from harness.api import load_figure_data
from harness.contracts import FigureData, NotEnoughData
from harness.store.record import Record, write_record
from harness.store.store import Store
from harness.store.table import SeriesFrames
from harness.suite.trial import Trial

STRIDES = (1, 2, 8)
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def build(**options):
    return configuration.build("figures", {"name": "horizon", **options})


def series_of(variant, seed, rate=8.0):
    """What the metric leaves of a trial: deeper levels forget later."""
    front = {"variant": variant, "seed": seed, "key": f"{variant}{seed}"}
    distances = 2 ** np.arange(10)
    cut = [
        {
            **front,
            "level": str(level),
            "stride": stride,
            "distance_samples": k,
            "rise_bits": bits + 0.01 * seed,
        }
        for level, stride in enumerate(STRIDES)
        for k, bits in zip(distances, 0.5 / (1 + distances / stride), strict=True)
    ]
    cut = [{**row, "late_bits": row["rise_bits"] / 2} for row in cut]
    cut += [{**row, "level": "all", "rise_bits": 3 * row["rise_bits"]} for row in cut if row["level"] == "2"]
    gradient = [
        {**front, "level": level, "stride": 1, "distance_samples": k, "gradient": 1.0, "share": 0.25}
        for level in ("0", "1", "2", "delays", "all")
        for k in distances
    ]
    memory = [
        {**front, "level": level, "stride": stride, "quantile": q, "memory_samples": 10 * stride * (0.5 + q)}
        for level, stride in enumerate(STRIDES)
        for q in QUANTILES
    ]
    frames = {"horizon_cut": cut, "horizon_gradient": gradient, "horizon_memory": memory}
    found = {}
    for name, rows in frames.items():
        frame = pd.DataFrame(rows)
        for column in [column for column in frame if column.endswith("_samples")]:
            frame[column.replace("_samples", "_ms")] = frame[column] / rate
        found[name] = frame
    return found


@pytest.fixture(scope="module")
def data():
    trials = [(variant, seed) for variant in ("base", "no_pooling") for seed in range(3)]
    every = [series_of(*trial) for trial in trials]
    series = {name: pd.concat([one[name] for one in every], ignore_index=True) for name in every[0]}
    table = pd.DataFrame([{"variant": v, "seed": s, "key": f"{v}{s}", "status": "ok"} for v, s in trials])
    return FigureData(
        table=table, history=pd.DataFrame(), variants=["base", "no_pooling"], base="base", series=series
    )


@pytest.fixture(scope="module")
def figure(data):
    return build().draw(data)


def test_every_variant_has_a_row_and_every_measurement_a_column(figure):
    assert len(figure.axes) == 6
    assert [axes.get_title("left") for axes in figure.axes[:3]] == [
        "State of a level cut",
        "Gradient: share of a level",
        "Decays of the channels",
    ]
    assert figure.axes[3].get_xlabel() == "Distance (ms)"


def test_all_columns_share_one_axis_of_distance(figure):
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert all(axes.get_xscale() == "log" for axes in figure.axes)


def test_the_legend_names_every_level(figure):
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["level 0", "level 1", "level 2", "all levels", "no state: delays"]


def test_numbers_are_means_over_seeds_with_their_interval(data):
    numbers = build(variants=["base"]).numbers(data)
    assert set(numbers["variant"]) == {"base"}
    point = numbers[
        (numbers["series"] == "horizon_cut") & (numbers["level"] == "0") & (numbers["at"] == 1 / 8)
    ]
    assert point["mean"].item() == pytest.approx(0.13)
    assert point["low"].item() < 0.13 < point["high"].item() and point["n"].item() == 3
    assert (point["lowest"].item(), point["highest"].item()) == pytest.approx((0.125, 0.135))


def test_rises_of_all_tokens_can_be_asked_for(data):
    every, late = (build(tokens=tokens).numbers(data) for tokens in ("all", "late"))
    cut = every["series"] == "horizon_cut"
    assert (every["mean"][cut] > late["mean"][cut]).all() and (
        every["mean"][~cut] == late["mean"][~cut]
    ).all()


def test_one_variant_can_be_asked_for(data):
    assert len(build(variants=["no_pooling"]).draw(data).axes) == 3


def test_what_was_not_measured_leaves_no_empty_column(data):
    series = {"horizon_cut": data.series["horizon_cut"]}
    assert len(build().draw(dataclasses.replace(data, series=series)).axes) == 2


def test_a_failed_trial_is_not_averaged(data):
    table = data.table.assign(status=["ok", "ok", "failed", "ok", "ok", "ok"])
    numbers = build().numbers(dataclasses.replace(data, table=table))
    assert set(numbers.loc[numbers["variant"] == "base", "n"]) == {2}


def test_data_without_a_rate_are_drawn_over_samples(data):
    series = {
        name: frame.assign(**{c: np.nan for c in frame if c.endswith("_ms")})
        for name, frame in data.series.items()
    }
    figure = build().draw(dataclasses.replace(data, series=series))
    assert figure.axes[-1].get_xlabel() == "Memory (samples)"


@pytest.mark.parametrize("options", [{}, {"variants": ["base", "mamba"]}])
def test_nothing_measured_is_said_in_one_line(data, options):
    bare = data if options else dataclasses.replace(data, series={})
    with pytest.raises(NotEnoughData, match=r"no trial( of mamba)? left the series"):
        build(**options).draw(bare)


# ----------------------------------------------------------------------------- where series come from

CONFIG = {
    "model": {"name": "poolformer", "width": 4, "pooling": [2], "layers": 1, "mixer": "lru"},
    "data": {"name": "synthetic_digits"},
    "train": {"precision": "float32"},
    "measure": [],
}


def test_series_of_all_trials_are_stacked_when_asked_for(tmp_path):
    trials = [Trial("base", seed, CONFIG) for seed in (0, 1)]
    store = Store(tmp_path)
    for trial in trials:
        folder = tmp_path / "trials" / trial.folder_name / "series"
        folder.mkdir(parents=True)
        (folder / "curve.csv").write_text(f"k,rise_bits\n1,0.{trial.seed}\n")
    series = SeriesFrames(store, trials)
    assert list(series) == ["curve"] and len(series) == 1
    assert list(series["curve"].columns) == ["variant", "seed", "key", "k", "rise_bits"]
    assert list(series["curve"]["rise_bits"]) == [0.0, 0.1]
    assert series["curve"] is series["curve"]
    with pytest.raises(KeyError):
        series["other"]


def test_figures_of_a_results_folder_get_its_series(tmp_path):
    trial = Trial("base", 0, CONFIG)
    folder = tmp_path / "trials" / trial.folder_name
    (folder / "series").mkdir(parents=True)
    (folder / "series" / "curve.csv").write_text("k\n1\n")
    write_record(folder / "record.json", Record.failure(trial, "failed", "x", columns={}, provenance={}))
    plan = {
        "variants": [{"name": "base", "config": CONFIG}],
        "seeds": [0],
        "plugin_files": [],
        "base": "base",
    }
    Store(tmp_path).write_plan(plan, "")
    assert list(load_figure_data(tmp_path).series["curve"]["k"]) == [1]
