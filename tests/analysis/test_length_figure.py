"""Speed and memory against length: known laws are found again, and what a model did not manage is marked."""

import dataclasses

import pandas as pd
import pytest

from harness import configuration
from harness.contracts import FigureData, NotEnoughData
from harness.errors import ConfigError
from tests.analysis.test_figures import texts

LENGTHS = (1000, 2000, 4000, 8000, 16000)
WORK = {"poolformer": 1.0, "transformer": 2.0}


def data(lengths=LENGTHS, ends=None, seeds=(0,), **columns):
    """Two models whose step takes 1e-3 L^k ms; `ends`: (model, length) -> status."""
    rows = [
        {
            "variant": f"{model},seconds={length}",
            "seed": seed,
            "key": f"{model}{length}{seed}",
            "status": (ends or {}).get((model, length), "ok"),
            "model": model,
            "mixer": "",
            "pooling": "",
            "layers": "2",
            "width": "64",
            "length": length,
            "train_step_ms": 1e-3 * length**exponent * (1 + 0.001 * seed),
            "peak_memory_mib": 0.01 * length**exponent,
            "generate_samples_per_second": 1e6 * length ** (1 - exponent),
            **columns,
        }
        for model, exponent in WORK.items()
        for length in lengths
        for seed in seeds
    ]
    table = pd.DataFrame(rows)
    variants = [*table["variant"].unique()]
    return FigureData(table=table, history=pd.DataFrame(), variants=variants, base=variants[0])


@pytest.fixture
def figure():
    return configuration.build("figures", "length")


def marks(axes, marker):
    return [line for line in axes.get_lines() if line.get_marker() == marker]


def test_the_exponents_of_every_model_and_column_are_found_again(figure):
    lines = figure.numbers(data(seeds=(0, 1))).groupby("line").first()
    assert [*lines.index] == ["poolformer", "transformer"]
    assert lines["train_step_ms_exponent"].tolist() == pytest.approx([1.0, 2.0], abs=1e-6)
    assert lines["peak_memory_mib_exponent"].tolist() == pytest.approx([1.0, 2.0])
    assert lines["generate_samples_per_second_exponent"].tolist() == pytest.approx([0.0, -1.0], abs=1e-9)
    shown = texts(figure.draw(data())).split("\n")
    assert shown.count("1.00") == 2 and shown.count("2.00") == 2 and "−1.00" in shown


def test_an_exponent_is_of_the_longest_lengths(figure):
    table = data().table
    constant = table["length"] < 4000  # costs that do not depend on the length hide the law
    table.loc[constant & (table["model"] == "poolformer"), "train_step_ms"] = 4.0
    lengths = dataclasses.replace(data(), table=table)
    three = configuration.build("figures", {"name": "length", "longest": 3})
    assert three.numbers(lengths)["train_step_ms_exponent"].iloc[0] == pytest.approx(1.0)
    assert figure.numbers(lengths)["train_step_ms_exponent"].iloc[0] < 0.99
    with pytest.raises(ConfigError, match="at least 3"):
        configuration.build("figures", {"name": "length", "longest": 2})


def test_a_length_that_did_not_fit_is_a_cross_at_its_length_above_all_data(figure):
    ends = {("transformer", 8000): "out_of_memory", ("transformer", 16000): "timeout"}
    ended = data(ends=ends)
    drawn = figure.draw(ended)
    for axes in drawn.axes:
        (cross,), (plus,) = marks(axes, "x"), marks(axes, "+")
        assert cross.get_xdata()[0] == 8000 and plus.get_xdata()[0] == 16000
        assert cross.get_transform() == axes.get_xaxis_transform() and cross.get_ydata()[0] > 0.85
    shown = " ".join(texts(drawn).split())
    assert "× out of memory" in shown and "+ out of time" in shown
    numbers = figure.numbers(ended).set_index("variant")
    assert numbers.loc["transformer,seconds=8000", "status"] == "out_of_memory"
    assert pd.isna(numbers.loc["transformer,seconds=8000", "train_step_ms"]), (
        "what it measured before is no result"
    )
    assert "out of" not in texts(figure.draw(data()))


def test_other_failures_are_no_limit_of_the_length(figure):
    numbers = figure.numbers(data(ends={("transformer", 8000): "failed", ("transformer", 4000): "missing"}))
    assert {*numbers["status"]} == {"ok"} and len(numbers) == 8


def test_one_length_is_no_curve_and_nothing_measured_is_said(figure):
    with pytest.raises(NotEnoughData, match="two lengths"):
        figure.draw(data(lengths=[8000]))
    with pytest.raises(NotEnoughData, match="length"):
        figure.draw(FigureData(table=pd.DataFrame(), history=pd.DataFrame(), variants=[], base="base"))
    with pytest.raises(NotEnoughData, match="any of"):
        figure.draw(data(train_step_ms=None, peak_memory_mib=None, generate_samples_per_second=None))


def test_two_lengths_are_a_line_without_an_exponent(figure):
    numbers = figure.numbers(data(lengths=[1000, 2000]))
    assert numbers["train_step_ms_exponent"].isna().all()
    figure.draw(data(lengths=[1000, 2000]))


def test_lines_of_one_model_are_told_apart_by_what_they_differ_in(figure):
    table = data().table
    unpooled = table[table["model"] == "poolformer"].assign(pooling="[1, 1]")
    unpooled["variant"] += ",pooling=[1, 1]"
    both = pd.concat([table, unpooled], ignore_index=True)
    variants = [*both["variant"].unique()]
    numbers = figure.numbers(
        FigureData(table=both, history=pd.DataFrame(), variants=variants, base=variants[0])
    )
    assert [*numbers["line"].unique()] == ["poolformer pooling=", "transformer", "poolformer pooling=[1, 1]"]


def test_a_speed_of_less_than_the_whole_clip_says_so(figure):
    assert "Drawing ended" not in texts(figure.draw(data(generate_steps=16000)))
    shown = " ".join(texts(figure.draw(data(generate_steps=2000))).split())
    assert "after 2,000 samples" in shown
