import dataclasses
import math
import sys

import pandas as pd
import pytest

from harness import configuration
from harness.analysis import style
from harness.contracts import NotEnoughData
from harness.errors import ConfigError

KINDS = ("learning_curve", "pareto", "pooling_sweep", "memory")


def build(name, **options):
    return configuration.build("figures", {"name": name, **options})


def replace(data, **parts):
    return dataclasses.replace(data, **parts)


def texts(figure) -> str:
    import matplotlib.text

    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def pixels(figure, artist):
    return artist.get_window_extent(figure.canvas.get_renderer())


# ---------------------------------------------------------------------------------- all the kinds


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_draws_a_realistic_suite(name, data):
    figure = build(name).draw(data)
    assert figure.axes and all(axes.get_xlabel() or figure.get_supxlabel() for axes in figure.axes)


@pytest.mark.parametrize("name", KINDS)
def test_drawing_leaves_the_data_alone_and_pyplot_without_figures(name, data):
    table, history = data.table.copy(), data.history.copy()
    build(name).draw(data)
    pd.testing.assert_frame_equal(data.table, table)
    pd.testing.assert_frame_equal(data.history, history)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_draws_a_suite_without_references(name, data):
    counted = ~data.table["model"].isin(["markov", "unigram"])
    table = data.table[counted]
    assert len(table) < len(data.table)
    history = data.history[data.history["key"].isin(table["key"])]
    variants = [variant for variant in data.variants if variant in set(table["variant"])]
    build(name).draw(replace(data, table=table, history=history, variants=variants))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_says_in_one_line_that_nothing_was_measured(name, data):
    empty = replace(data, table=data.table.iloc[:0], history=pd.DataFrame(columns=[*data.history.columns]))
    with pytest.raises(NotEnoughData) as refused:
        build(name).draw(empty)
    assert "\n" not in str(refused.value) and len(str(refused.value)) > 20


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_tells_the_numbers_it_draws(name, data):
    numbers = build(name).numbers(data)
    assert len(numbers) and "variant" in numbers
    order = [v for v in data.variants if v in {*numbers["variant"]}]
    if name != "pooling_sweep":  # which goes by the factors
        assert list(dict.fromkeys(numbers["variant"])) == order


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_draws_a_single_seed_without_intervals(name, make_data):
    figure = build(name).draw(make_data(seeds=1, failed={}))
    assert "one seed" in texts(figure).lower() and "interval" not in texts(figure)


def test_an_unknown_option_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="x"):
        build("learning_curve", x="minutes")


# --------------------------------------------------------------------------------- learning curves


def test_wall_clock_is_steps_times_the_median_exclusive_step_time(data):
    points = build("learning_curve", x="seconds").numbers(data)
    mine = points[(points["variant"] == "base") & (points["step"] == 500)]
    step_ms = data.table.loc[data.table["variant"] == "base", "train_step_ms"].median()
    assert mine["x"].tolist() == pytest.approx([500 * step_ms / 1000] * 3)
    assert "median step time" in texts(build("learning_curve", x="seconds").draw(data))


def test_without_step_times_the_recorded_clock_is_used_and_named(data):
    untimed = replace(data, table=data.table.drop(columns="train_step_ms"))
    points = build("learning_curve", x="seconds").numbers(untimed)
    mine = points[(points["variant"] == "base") & (points["step"] == 500)]
    recorded = data.history[(data.history["variant"] == "base") & (data.history["step"] == 500)]["seconds"]
    assert mine["x"].tolist() == pytest.approx([recorded.mean()] * 3)
    assert "Recorded training time" in texts(build("learning_curve", x="seconds").draw(untimed))


def test_a_variant_without_a_step_time_is_named_beside_the_wall_clock(data):
    shown = build("learning_curve", x="seconds").draw(data).get_supxlabel()
    assert shown.endswith("for want of a step time: layers 4")


def test_tokens_are_those_of_the_history(data):
    points = build("learning_curve", x="tokens").numbers(data).dropna(subset=["x"])
    assert points["x"].max() == data.history["tokens"].max()


def test_models_without_a_curve_are_lines_on_the_clips_of_the_curves(data):
    figure = build("learning_curve").draw(data)
    last = data.history[(data.history["variant"] == "unigram") & (data.history["step"] == 1)]
    assert f"unigram {last['nll_bits_validation'].mean():.2f}" in texts(figure)
    assert "unigram" not in [label.get_text() for label in legend(figure)]


def test_a_reference_without_any_history_has_the_tables_value(data):
    history = data.history[data.history["variant"] != "unigram"]
    value = data.table.loc[data.table["variant"] == "unigram", "nll_bits_validation"].mean()
    assert f"unigram {value:.2f}" in texts(build("learning_curve").draw(replace(data, history=history)))


def legend(figure):
    return figure.legends[0].get_texts()


def test_the_legend_goes_by_the_suite_and_counts_failures(data):
    labels = [text.get_text() for text in legend(build("learning_curve").draw(data))]
    expected = [style.label(v) for v in data.variants if v not in ("markov", "unigram")]
    assert [label.partition(" (")[0] for label in labels] == expected
    assert "mixer attention (2 of 3 ok)" in labels and "layers 4 (0 of 3 ok)" in labels


def test_the_legend_covers_no_axes(data):
    figure = build("learning_curve").draw(data)
    figure.canvas.draw()
    box = pixels(figure, figure.legends[0])
    assert not any(box.overlaps(pixels(figure, axes)) for axes in figure.axes)
    assert box.x1 <= figure.bbox.x1 and box.y0 >= 0


def test_an_exploding_curve_does_not_set_the_scale(data):
    history = data.history.copy()
    diverged = (history["variant"] == "mixer=attention") & (history["seed"] == 2)
    history.loc[diverged & (history["step"] >= 500), "nll_bits_validation"] = [1e6, math.inf]
    figure = build("learning_curve").draw(replace(data, history=history))
    assert all(axes.get_ylim()[1] < 6 for axes in figure.axes)
    assert "ending in ×: failed" in legend_title(figure)


def legend_title(figure) -> str:
    return figure.legends[0].get_title().get_text()


# ------------------------------------------------------------------------------------------ Pareto


def test_the_front_holds_what_nothing_else_beats_in_both(data):
    numbers = build("pareto").numbers(data).set_index("variant")
    x, y = numbers["train_step_ms_mean"], numbers["nll_bits_test_mean"]
    for variant in numbers.index:
        beaten = ((x <= x[variant]) & (y <= y[variant]) & ((x < x[variant]) | (y < y[variant]))).any()
        assert numbers.loc[variant, "on_front"] == (not beaten), variant


def test_where_more_is_better_the_front_turns_round(data):
    slow_first = build("pareto").numbers(data).set_index("variant")["on_front"]
    speed = build("pareto", x="tokens_per_second").numbers(data).set_index("variant")["on_front"]
    assert speed.to_dict() == slow_first.to_dict()


def test_references_and_missing_variants_are_named_below_the_points(data):
    shown = texts(build("pareto").draw(data))
    assert "Test NLL of references: markov 4.12, unigram 5.33." in shown
    assert "for want of a value: layers 4" in shown


def test_a_cost_that_nobody_measured_is_too_little(data):
    with pytest.raises(NotEnoughData, match="both fid and nll_bits_test"):
        build("pareto", x="fid").draw(data)


def test_an_interval_that_reaches_below_zero_leaves_a_logarithmic_axis_in_place(data):
    table = data.table.copy()
    slow = (table["variant"] == "layers=1") & (table["seed"] == 0)
    table.loc[slow, "train_step_ms"] = 400.0
    axes = build("pareto").draw(replace(data, table=table)).axes[0]
    left, right = axes.get_xlim()
    assert axes.get_xscale() == "log" and 20 < left < right < 2000


def test_names_of_points_do_not_overlap(data):
    from itertools import combinations

    figure = build("pareto").draw(data)
    figure.canvas.draw()
    boxes = [pixels(figure, text) for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) == 11
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


# ------------------------------------------------------------------------------------ pooling sweep


def test_the_sweep_goes_from_the_least_pooling_to_the_most(data):
    numbers = build("pooling_sweep").numbers(data)
    assert numbers["factor"].is_monotonic_increasing
    assert list(dict.fromkeys(numbers["pooling"])) == [
        "[1, 1, 1, 1]",
        "[2, 1, 1, 1]",
        "[2, 2, 2, 2]",
        "[2, 4, 4, 5]",
        "[5, 4, 4, 2]",
    ]


def test_only_variants_that_differ_in_pooling_alone_stand_beside_the_base(data):
    table = data.table.copy()
    table.loc[table["variant"] == "pooling=[2,2,2,2]", "mixer"] = "lru"
    shown = {*build("pooling_sweep").numbers(replace(data, table=table))["variant"]}
    assert shown == {"base", "pooling=[1,1,1,1]", "pooling=[2,1,1,1]", "pooling=[5,4,4,2]"}


def test_a_sweep_of_one_is_none(data):
    table = data.table[~data.table["variant"].str.startswith("pooling")]
    with pytest.raises(NotEnoughData, match="pooling alone"):
        build("pooling_sweep").draw(replace(data, table=table))


def test_failed_trials_show_in_the_rows_label(data):
    table = data.table.copy()
    one = (table["variant"] == "pooling=[2,2,2,2]") & (table["seed"] == 0)
    table.loc[one, "status"] = "failed"
    assert "2 of 3 ok" in texts(build("pooling_sweep").draw(replace(data, table=table)))


# ------------------------------------------------------------------------------------------ memory


def test_bars_carry_their_values_and_say_how_they_were_measured(data):
    shown = texts(build("memory").draw(data))
    assert "process peak" in shown and "Peak memory (MiB)" in shown and "877" in shown


def test_a_column_that_nobody_measured_has_no_panel(data):
    table = data.table.drop(columns="saved_for_backward_mib")
    assert len(build("memory").draw(replace(data, table=table)).axes) == 2
    assert len(build("memory", state=False).draw(data).axes) == 2


# ------------------------------------------------------------------------------------------- style


def test_a_variant_looks_the_same_wherever_it_is_drawn_and_unlike_the_others(data):
    looks = style.looks([*data.variants, *map(str, range(12))], data.base)
    assert len({(look.colour, look.marker, look.filled) for look in looks.values()}) == len(looks)
    assert len({(look.colour, str(look.dashes)) for look in looks.values()}) >= 24
    assert looks["base"] == style.looks(["base"], "base")["base"]


def test_looks_go_by_the_suites_order_whatever_failed(data):
    assert list(style.looks(data.variants, data.base)) == list(data.variants)


@pytest.mark.parametrize(
    ("variant", "label"),
    [
        ("pooling=[2,4,4,5]", "pooling [2, 4, 4, 5]"),
        ("mixer=attention", "mixer attention"),
        ("_private", " _private"),
        ("cost=$5", r"cost \$5"),
        ("a\nb", "a b"),
        ("x" * 80, "x" * 35 + "…"),
    ],
)
def test_labels_are_readable_and_never_markup(variant, label):
    assert style.label(variant) == label


def test_a_readers_own_settings_do_not_change_the_figure(data, tmp_path):
    import matplotlib

    style.save(build("memory").draw(data), tmp_path / "a.svg")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "x"}):
        style.save(build("memory").draw(data), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


# ------------------------------------------------------------------------------------------- axes


def ticks(axes, which):
    axes.figure.canvas.draw()
    low, high = sorted(getattr(axes, f"get_{which}lim")())
    axis = axes.xaxis if which == "x" else axes.yaxis
    return [
        tick.label1.get_text()
        for tick in axis.get_major_ticks()
        if tick.label1.get_text() and low <= tick.get_loc() <= high
    ]


def test_large_numbers_along_an_axis_are_written_as_in_tables(data):
    axes = build("pareto", y="tokens_per_second").draw(data).axes[0]
    assert "100k" in ticks(axes, "y") and not any(text.endswith("k") for text in ticks(axes, "x"))
    tokens = build("learning_curve", x="tokens").draw(data).axes[0]
    assert "0" in ticks(tokens, "x") and all(text.endswith("M") for text in ticks(tokens, "x") if text != "0")


@pytest.mark.parametrize("limits", [(0.79, 1.01), (5.0, 7.0), (20, 39), (1, 5), (3, 70), (1, 1e6)])
def test_a_logarithmic_axis_has_names_enough_to_read_it_by(limits):
    axes = style.new_figure(4, 3).subplots()
    axes.set_ylim(*limits)
    style.log_axis(axes, "y")
    assert 3 <= len(ticks(axes, "y")) <= 8
