"""The overfitting figure: bits on each split against the clips that were trained on."""

import pandas as pd
import pytest

from harness import configuration
from harness.contracts import FigureData, NotEnoughData


def data(sizes, **columns):
    rows = [
        {
            "variant": f"clips={clips}",
            "seed": seed,
            "key": f"{clips:06}{seed:06}",
            "status": "ok",
            "model": "poolformer",
            "mixer": "rg_lru",
            "pooling": "[4]",
            "layers": "2",
            "width": "64",
            "train_split_clips": clips,
            "nll_bits_train": 2 + clips / 1000,
            "nll_bits_validation": 5 - clips / 1000,
            "nll_bits_test": 5.1 - clips / 1000 + 0.01 * seed,
            **columns,
        }
        for clips in sizes
        for seed in range(2)
    ]
    table = pd.DataFrame(rows)
    return FigureData(
        table=table, history=pd.DataFrame(), variants=[*table["variant"].unique()], base="clips=8"
    )


@pytest.fixture
def figure():
    return configuration.build("figures", "overfitting")


def test_each_split_has_a_line_over_the_sizes_in_order(figure):
    axes = figure.draw(data([100, 8, 30])).axes[0]
    lines = [line.get_xdata().tolist() for line in axes.get_lines() if len(line.get_xdata()) == 3]
    assert lines.count([8, 30, 100]) == 3 and axes.get_xscale() == "log"
    assert figure.numbers(data([100, 8, 30]))["train_split_clips"].tolist() == [8, 8, 30, 30, 100, 100]


def test_failed_trials_are_left_out_and_one_size_is_no_curve(figure):
    with pytest.raises(NotEnoughData, match="two numbers of clips"):
        figure.draw(data([8]))
    with pytest.raises(NotEnoughData, match="two numbers of clips"):
        figure.draw(data([8, 30], status="failed"))
    with pytest.raises(NotEnoughData, match="metric nll"):
        figure.draw(FigureData(table=pd.DataFrame(), history=pd.DataFrame(), variants=[], base="base"))


def test_models_of_different_settings_get_panels_of_their_own(figure):
    both = pd.concat([data([8, 30]).table, data([8, 30], model="sashimi", mixer="").table])
    assert len(figure.draw(FigureData(table=both, history=both, variants=["a"], base="a")).axes) == 2


def test_panels_of_one_model_are_told_apart_by_what_differs(figure):
    both = pd.concat([data([8, 30]).table, data([8, 30], pooling="[1]").table])
    axes = figure.draw(FigureData(table=both, history=both, variants=["a"], base="a")).axes
    assert [panel.get_title() for panel in axes] == [
        "poolformer rg_lru\npooling [1]",
        "poolformer rg_lru\npooling [4]",
    ]
