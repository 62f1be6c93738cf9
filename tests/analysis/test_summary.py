import io
import math

import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from harness.analysis.layout import lay_out
from harness.analysis.leaderboard import lay_out_leaderboard, leaderboard
from harness.analysis.markup import latex_table, markdown_table
from harness.analysis.numbers import decimals, number
from harness.analysis.quantities import KNOWN, compact, quantity
from harness.analysis.statistics import Estimate, holm, smallest_difference
from harness.analysis.summary import summarise, terminal_table
from harness.analysis.terminal import TerminalTable
from harness.contracts import Column
from harness.errors import HarnessError
from tests.analysis.conftest import VARIANTS


@pytest.fixture(scope="module")
def summary(make_data, declared_columns):
    data = make_data()
    return summarise(data.table, declared_columns, data.variants, data.base)


def row(summary: pd.DataFrame, variant: str) -> pd.Series:
    return summary.set_index("variant").loc[variant]


def printed(table, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_there_is_one_row_a_variant_in_the_suites_order(summary, data):
    assert summary["variant"].tolist() == list(data.variants)


def test_rows_of_the_table_in_another_order_change_nothing(summary, data, columns):
    shuffled = data.table.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(summarise(shuffled, columns, data.variants, data.base), summary)


def test_trials_that_failed_are_counted_with_their_reason(summary):
    assert row(summary, "mixer=attention")[["n_ok", "n_not_ok", "not_ok"]].tolist() == [2, 1, "1 diverged"]
    assert row(summary, "layers=4")[["n_ok", "n_not_ok", "not_ok"]].tolist() == [0, 3, "3 timeout"]
    assert math.isnan(row(summary, "layers=4")["nll_bits_test_mean"])
    assert row(summary, "layers=4")["nll_bits_test_verdict"] == "-"


def test_a_variant_of_which_no_row_exists_is_still_listed(data, columns):
    found = summarise(data.table, columns, [*data.variants, "planned"], data.base)
    assert row(found, "planned")[["n_ok", "n_not_ok"]].tolist() == [0, 0]


def test_mean_interval_and_difference_are_those_of_scipy(summary, data):
    values = data.table.pivot(index="seed", columns="variant", values="nll_bits_test")
    mine, base = values["mixer=lru"], values["base"]
    found = row(summary, "mixer=lru")
    low, high = stats.t.interval(0.95, 2, mine.mean(), stats.sem(mine))
    assert found["nll_bits_test_mean"] == pytest.approx(mine.mean())
    assert (found["nll_bits_test_low"], found["nll_bits_test_high"]) == pytest.approx((low, high))
    low, high = stats.ttest_rel(mine, base).confidence_interval()
    assert found["nll_bits_test_difference"] == pytest.approx((mine - base).mean())
    assert found["nll_bits_test_difference_low"] == pytest.approx(low)
    assert found["nll_bits_test_difference_high"] == pytest.approx(high)
    assert found["nll_bits_test_pairs"] == 3
    assert found["nll_bits_test_p"] == pytest.approx(stats.ttest_rel(mine, base).pvalue)


def test_the_verdict_follows_the_direction_of_the_column(summary):
    transformer = row(summary, "transformer")
    assert transformer["nll_bits_test_verdict"] == "worse"
    assert transformer["tokens_per_second_verdict"] == "worse"
    assert row(summary, "layers=1")["tokens_per_second_verdict"] == "better"
    assert transformer["parameters_verdict"] == "-"


def test_the_base_has_no_difference_to_itself(summary):
    base = row(summary, "base")
    assert math.isnan(base["nll_bits_test_difference"]) and base["nll_bits_test_verdict"] == "-"


def test_one_variant_is_the_best_and_ties_with_it_are_marked(summary):
    standing = summary.set_index("variant")["nll_bits_test_standing"]
    assert (standing == "best").sum() == 1 and standing["pooling=[1,1,1,1]"] == "best"
    assert standing["mixer=attention"] == "tied"
    assert standing["transformer"] == ""


def test_one_seed_gives_no_interval_and_no_verdict(make_data, columns):
    data = make_data(seeds=1)
    summary = summarise(data.table, columns, data.variants, data.base)
    assert summary["nll_bits_test_low"].isna().all()
    assert set(summary["nll_bits_test_verdict"]) == {"-"}
    assert "tied" not in set(summary["nll_bits_test_standing"])
    assert "One seed each" in printed(terminal_table(summary, columns, base="base"), 120)


def test_a_variant_alone_is_not_the_best(make_data, columns):
    data = make_data(names=("base",), failed={})
    layout = lay_out(summarise(data.table, columns, data.variants, data.base), columns, data.base)
    assert not any(cell.best for row in layout.rows for cell in row)
    assert "best" not in " ".join(layout.notes("Bold", ""))


def test_variants_that_ended_alike_stand_together_below_the_table(make_data, columns):
    def said(failed):
        data = make_data(failed=failed)
        layout = lay_out(summarise(data.table, columns, data.variants, data.base), columns, data.base)
        return layout.notes("Bold", "")[-1]

    assert said({("base", 0): "timeout", ("markov", 1): "timeout", ("layers=1", 2): "out_of_memory"}) == (
        "Not ok, and in no average: base, markov: 1 timeout; layers=1: 1 out of memory."
    )
    assert said({(name, 0): "failed" for name in VARIANTS}) == (
        "Not ok, and in no average: every variant: 1 failed."
    )
    many = said({(name, 0): "failed" for name in VARIANTS if name != "base"})
    assert many.endswith("pooling=[5,4,4,2] and 9 others: 1 failed.")


def test_settings_and_text_are_not_measured(summary):
    means = {name for name in summary.columns if name.endswith("_mean")}
    assert not means & {"seed_mean", "threads_mean", "layers_mean", "git_dirty_mean", "memory_method_mean"}


def test_a_plugins_column_is_summarised_and_shown_if_it_has_a_direction(data, columns):
    table = data.table.assign(fidelity_percent=1.0, fidelity_samples=7)
    columns |= {
        "fidelity_percent": Column(description="d", unit="%", better="higher"),
        "fidelity_samples": Column(description="d"),
    }
    summary = summarise(table, columns, data.variants, data.base)
    titles = [header.title for header in lay_out(summary, columns, data.base).headers]
    assert "fidelity_samples_mean" in summary
    assert "Fidelity percent" in titles and "Fidelity samples" not in titles


def test_columns_without_any_value_are_hidden(data, columns):
    table = data.table.assign(train_step_ms=math.nan)
    summary = summarise(table, columns, data.variants, data.base)
    assert "train_step_ms_mean" not in summary
    assert "Training step" not in [h.title for h in lay_out(summary, columns, data.base).headers]


def test_the_leading_result_carries_its_difference(summary, columns):
    names = [header.name for header in lay_out(summary, columns, "base").headers]
    assert names[:4] == ["variant", "n", "nll_bits_test", "difference"]


def test_a_suite_of_which_everything_failed_has_a_table_that_says_so(make_data, columns):
    few = ["base", "unigram"]
    data = make_data(few, failed={(variant, seed): "failed" for variant in few for seed in range(3)})
    text = printed(terminal_table(summarise(data.table, columns, few, "base"), columns, base="base"), 100)
    text = " ".join(text.split())
    assert "0/3" in text and "Nothing was measured." in text and "every variant: 3 failed" in text


def test_the_terminal_table_fits_110_columns_without_breaking_a_number(summary, columns):
    text = printed(terminal_table(summary, columns, base="base"), 110)
    assert max(map(len, text.splitlines())) <= 110
    assert text.count("±") >= 2 * 12 and "mixer=diagonal_rnn " in text
    assert "2/3" in text and "mixer=attention: 1 diverged" in text


@pytest.mark.parametrize("width", [40, 80, 110, 1000])
def test_a_table_that_is_too_wide_goes_on_below_and_loses_no_number(summary, columns, width):
    layout = lay_out(summary, columns, "base")
    text = printed(TerminalTable(layout), width)
    assert max(map(len, text.splitlines())) <= width
    numbers = [cell.text for row in layout.rows for cell in row[1:] if cell.text]
    assert [number for number in numbers if number not in text] == []
    assert text.count("mixer=diagonal_rnn") == text.count("Variant")
    assert (text.count("Variant") == 1) == (width == 1000)


def test_what_a_metric_says_of_its_numbers_stands_below_them(data, columns):
    weak = "the classifier is too weak"
    table = data.table.assign(quality_note=weak, other_note="")
    table.loc[table["variant"] == "base", "other_note"] = "ended early"
    summary = summarise(table, columns, data.variants, data.base)
    assert row(summary, "base")["notes"] == f"{weak}; ended early"
    assert row(summary, "layers=4")["notes"] == ""  # none of its trials has a number
    notes = lay_out(summary, columns, data.base).notes("Bold", "")
    assert f"Of base: {weak}; ended early." in notes
    assert any("mixer=lru" in note and note.endswith(f": {weak}.") for note in notes)
    everywhere = table[table["status"] == "ok"].assign(other_note="")
    known = [name for name in data.variants if name in set(everywhere["variant"])]
    summary = summarise(everywhere, columns, known, data.base)
    assert f"Of all: {weak}." in lay_out(summary, columns, data.base).notes("Bold", "")


def test_many_columns_cost_no_warning(data, columns, recwarn):
    wide = data.table.assign(**{f"measured_{n}": 1.0 for n in range(30)})
    summarise(wide, columns, data.variants, data.base)
    assert not recwarn.list


def test_names_are_not_read_as_markup(data, columns):
    table = data.table.replace({"variant": {"mixer=lru": "[red]x[/red]"}})
    variants = ["[red]x[/red]" if v == "mixer=lru" else v for v in data.variants]
    assert "[red]x[/red]" in printed(
        terminal_table(summarise(table, columns, variants, "base"), columns, base="base"), 140
    )


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (Estimate(1.2341, 1.2221, 1.2461, 3), 3, "1.234 ± 0.012"),
        (Estimate(-0.05, -0.06, -0.04, 3), 3, "−0.050 ± 0.010"),
        (Estimate(1.2341, math.nan, math.nan, 1), 3, "1.234"),
        (Estimate(68412.0, 68100.0, 68724.0, 3), 0, "68.4k ± 0.3k"),
        (Estimate(12_288_000.0, 12_288_000.0, 12_288_000.0, 3), 0, "12.3M"),
        (Estimate(8.0, 8.0, 8.0, 3), 0, "8"),
        (Estimate(math.nan, math.nan, math.nan, 0), 2, ""),
        (Estimate(math.inf, math.nan, math.nan, 3), 2, "∞"),
    ],
)
def test_numbers_are_written_for_people(value, digits, expected):
    assert number(value, digits) == expected


def test_a_difference_shows_its_sign():
    assert number(Estimate(0.12, 0.11, 0.13, 3), 3, signed=True) == "+0.120 ± 0.010"


def test_a_column_has_as_many_decimals_as_its_uncertainty_is_worth():
    assert decimals([Estimate(3.02, 3.008, 3.032, 3), Estimate(2.97, 2.95, 2.99, 3)]) == 3
    assert decimals([Estimate(91.3, 89.8, 92.8, 3)]) == 1
    assert decimals([Estimate(3.0, 3.0, 3.0, 3), Estimate(8.0, math.nan, math.nan, 1)]) == 0
    assert decimals([]) == 0


def test_what_a_metric_says_of_its_column_goes_before_what_we_know():
    declared = {"nll_bits_test": Column(description="d", unit="nats", better="higher")}
    assert quantity("nll_bits_test", declared).unit == "nats"
    assert quantity("nll_bits_test").unit == "bits/sample"
    assert quantity("warm_up_ms").label == "Warm up" and quantity("warm_up_ms").unit == "ms"


def test_our_own_metrics_agree_with_what_figures_say_of_them():
    from harness import registry

    for name in ("nll", "efficiency", "generation"):
        for column, declared in registry.get("metrics", name).columns.items():
            if column in KNOWN:
                assert (KNOWN[column].unit, KNOWN[column].better) == (declared.unit, declared.better), column


def test_a_narrow_table_leaves_out_what_it_has_no_room_for(columns):
    names = ["nll_bits_test", "state_bytes", "parameters"]
    assert compact(names, columns) == names
    assert compact(names, columns, narrow=True) == ["nll_bits_test", "parameters"]


# ------------------------------------------------------------------- what few seeds can and cannot say


def test_the_verdict_is_corrected_for_all_variants_of_the_column(summary):
    p = summary["nll_bits_test_p"].to_numpy()
    assert summary["nll_bits_test_p_corrected"].to_numpy() == pytest.approx(holm(p), nan_ok=True)
    for _, each in summary.iterrows():
        seen = each["nll_bits_test_p_corrected"] <= 0.05
        assert (each["nll_bits_test_verdict"] in {"better", "worse"}) == seen


def test_each_variant_has_the_smallest_difference_that_would_have_been_seen(summary, data):
    values = data.table.pivot(index="seed", columns="variant", values="nll_bits_test")
    deviation = (values["mixer=lru"] - values["base"]).std(ddof=1)
    family = summary["nll_bits_test_p"].notna().sum()
    expected = smallest_difference(deviation, 3, comparisons=family)
    assert row(summary, "mixer=lru")["nll_bits_test_detectable"] == pytest.approx(expected)


def test_what_could_not_be_seen_is_told_in_words(summary, columns):
    (note,) = [note for note in lay_out(summary, columns, "base").notes("Bold", "") if "80 % power" in note]
    median = summary["nll_bits_test_detectable"].median()
    assert note.startswith("With 2 to 3 seeds and 12 comparisons, a difference in Test NLL under ")
    assert f"under {median:.2g} bits/sample" in note and note.endswith("seeds.")


def test_the_chance_of_improvement_counts_pairs_of_seeds(summary):
    assert row(summary, "transformer")["nll_bits_test_improvement"] == 0.0
    assert row(summary, "pooling=[1,1,1,1]")["nll_bits_test_improvement"] > 0.5
    assert math.isnan(row(summary, "base")["nll_bits_test_improvement"])


def test_outlier_proof_means_are_told_from_ten_seeds_on(make_data, columns, summary):
    assert summary["nll_bits_test_iqm"].isna().all()
    data = make_data(["base", "layers=1"], seeds=10, failed={}, steps=20)
    found = row(summarise(data.table, columns, data.variants, "base"), "layers=1")
    values = data.table.loc[data.table["variant"] == "layers=1", "nll_bits_test"]
    assert found["nll_bits_test_iqm"] == pytest.approx(stats.trim_mean(values, 0.25))
    assert found["nll_bits_test_iqm_low"] < found["nll_bits_test_iqm"] < found["nll_bits_test_iqm_high"]
    assert 0 <= found["nll_bits_test_improvement_low"] <= found["nll_bits_test_improvement_high"] <= 1


def test_chosen_columns_are_shown_in_their_order_and_lead(summary, columns):
    shown = ["train_step_ms", "state_bytes", "no_such_column"]
    for narrow in (False, True):
        layout = lay_out(summary, columns, "base", narrow=narrow, shown=shown)
        names = [header.name for header in layout.headers]
        assert names == ["variant", "n", "train_step_ms", "difference", "state_bytes"]
    assert any("Training step under" in note for note in layout.notes("", ""))


# ------------------------------------------------------------------------------------- leaderboard


def test_a_leaderboard_is_in_the_order_of_any_column(data, columns):
    board = leaderboard(data.table, columns, data.variants, "tokens_per_second")
    assert board["mean"].dropna().is_monotonic_decreasing
    assert board["rank"].iloc[0] == 1 and board["standing"].iloc[0] == "best"
    unranked = board[board["rank"].isna()]
    assert unranked["variant"].tolist() == ["layers=4", "markov", "unigram"]
    assert board["behind"].iloc[1] < 0 and board["pairs"].iloc[1] == 3


def test_equal_means_share_a_rank(data, columns):
    board = leaderboard(data.table, columns, data.variants, "state_bytes").set_index("variant")
    assert board.loc["base", "rank"] == board.loc["mixer=diagonal_rnn", "rank"]


def test_a_leaderboard_is_a_table_in_every_medium(data, columns):
    layout = lay_out_leaderboard(
        leaderboard(data.table, columns, data.variants, "nll_bits_test"), columns, "nll_bits_test"
    )
    assert "≈" in printed(TerminalTable(layout), 100)
    assert markdown_table(layout).startswith("| Rank | Variant | n | Test NLL (bits/sample) ↓ | Behind")
    assert r"\begin{tabular}{rlrrr}" in latex_table(layout, title="by nll")
    assert "layers=4: 3 timeout" in layout.notes("", "")[-1]


@pytest.mark.parametrize("by", ["nll_bits_tst", "parameters", "variant"])
def test_there_is_no_order_by_what_is_not_better_either_way(data, columns, by):
    with pytest.raises(HarnessError, match=f"no order by '{by}'"):
        leaderboard(data.table, columns, data.variants, by)
