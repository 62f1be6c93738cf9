import dataclasses
import json
import math
import subprocess

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.verdict_simulations import results, share_called
from harness.analysis.compare import compare
from harness.analysis.compare_layout import lay_out_comparison, markdown_comparison, plain, sentences
from harness.analysis.compared_rows import MEAN, TRIALS, Margin
from harness.analysis.statistics import difference
from harness.errors import HarnessError

NLL, STEP, STATE = "nll_bits_test", "train_step_ms", "state_bytes"


def run(seeds=range(5), loss=0.0, noise=0.005, variants=2, random=0):
    """A simulated run; seeds shift all variants alike, whoever runs them."""
    effects = np.random.default_rng(99).normal(scale=0.02, size=40)
    return results(variants, seeds, effects, loss, noise, np.random.default_rng(random))


@pytest.fixture(scope="module")
def before():
    return run(random=1)


@pytest.fixture(scope="module")
def after():
    return run(random=2)


def changed(loaded, **columns):
    """The same run with other values in its table."""
    return dataclasses.replace(loaded, table=loaded.table.assign(**columns))


def verdicts(comparison):
    return {metric.metric: metric.verdict for metric in comparison.metrics}


def row(comparison, metric, variant):
    (found,) = [each for each in comparison.rows if (each.metric, each.variant) == (metric, variant)]
    return found


# ----------------------------------------------------------------------- the difference of two runs


def series(values, seeds):
    return pd.Series(values, index=list(seeds))


def test_runs_of_the_same_seeds_are_paired_as_by_scipy():
    a, b = [3.0, 3.2, 3.1], [3.1, 3.25, 3.3]
    found = difference(series(a, (0, 1, 2)), series(b, (0, 1, 2)))
    expected = stats.ttest_rel(b, a)
    low, high = expected.confidence_interval()
    assert found.paired and found.n == 3
    assert found.interval()[1:3] == pytest.approx((low, high))
    assert found.p_beyond() == pytest.approx(expected.pvalue)


def test_runs_of_other_seeds_are_compared_by_welchs_test_as_by_scipy():
    a, b = [3.0, 3.2, 3.1], [3.1, 3.25, 3.6, 2.9]
    found = difference(series(a, (0, 1, 2)), series(b, (3, 4, 5, 6)))
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert not found.paired
    assert found.interval()[1:3] == pytest.approx(tuple(expected.confidence_interval()))
    assert found.p_beyond() == pytest.approx(expected.pvalue)


def test_a_single_seed_in_common_does_not_throw_the_others_away():
    found = difference(series([3.0, 3.2, 3.1, 3.3], range(4)), series([3.1, 3.2, 3.0, 3.4], range(3, 7)))
    assert not found.paired and found.n == 4


def test_beyond_a_margin_is_the_shifted_t_test():
    a, b = np.zeros(4), np.array([0.05, 0.06, 0.07, 0.04])
    found = difference(series(a, range(4)), series(b, range(4)))
    tails = [stats.ttest_1samp(b, edge, alternative="greater").pvalue for edge in (0.02, -0.02)]
    assert found.p_beyond(0.02) == pytest.approx(sum(tails))
    assert found.p_within(0.1) == pytest.approx(stats.ttest_1samp(b, 0.1, alternative="less").pvalue)


# ----------------------------------------------------------------------------------------- verdicts


def test_a_run_compared_with_itself_is_the_same(before):
    found = compare(before, before)
    assert {*verdicts(found).values()} == {"same"}
    assert found.pairs == found.equal_keys == 10
    assert all(math.isnan(each.p) for each in found.rows), "nothing varies, nothing is tested"


def test_a_planted_loss_of_a_twentieth_bit_at_five_seeds_is_worse(before):
    found = compare(before, run(loss=0.05, random=2))
    assert verdicts(found)[NLL] == "worse" and verdicts(found)["generalization_gap_bits"] == "same"
    assert row(found, NLL, MEAN).difference.mean == pytest.approx(0.05, abs=0.01)
    assert verdicts(compare(run(loss=0.05, random=2), before))[NLL] == "better"


def test_a_planted_loss_is_found_again_and_again_at_the_usual_noise():
    random = np.random.default_rng(5)
    known = {"loss": 0.05, "noise": 0.01, "seeds": 5, "variants": 4, "same_seeds": True}
    assert share_called("worse", tries=8, random=random, **known) >= 7 / 8


@pytest.mark.parametrize("same_seeds", [True, False])
def test_two_runs_of_the_same_are_called_the_same(same_seeds):
    # benchmarks.verdicts counts 100 tries a line; less than 9 of 10 would be one test run in a hundred
    random = np.random.default_rng(6)
    known = {"loss": 0.0, "noise": 0.015, "seeds": 3, "variants": 2, "same_seeds": same_seeds}
    assert share_called("same", tries=10, random=random, **known) >= 9 / 10


def test_variants_of_other_seeds_are_averaged_seed_by_seed():
    a, b = run(random=1), run(seeds=range(5, 10), random=2)
    found = row(compare(a, b), NLL, MEAN)
    means = [each.table.groupby("seed")[NLL].mean() for each in (a, b)]
    assert not found.paired
    assert found.p == pytest.approx(stats.ttest_ind(*means, equal_var=False).pvalue, rel=1e-3)


def test_a_single_seed_is_unknown_unless_it_is_equal(before):
    one, other = run(seeds=range(1), random=1), run(seeds=range(1), random=2)
    assert verdicts(compare(one, other))[NLL] == "unknown"
    assert verdicts(compare(one, one))[NLL] == "same"
    assert "one seed" in row(compare(one, other), NLL, "variant 0").reason


def test_what_never_varies_is_compared_exactly(before):
    larger = changed(before, state_bytes=4097)
    assert verdicts(compare(before, larger))[STATE] == "worse"
    assert verdicts(compare(larger, before))[STATE] == "better"


def test_another_processors_rounding_is_no_difference(before):
    rounded = changed(before, nll_bits_test=before.table[NLL] * (1 + 1e-8))
    assert verdicts(compare(before, rounded))[NLL] == "same"


def test_the_corrected_p_values_share_one_level_over_all_rows(before, after):
    found = compare(before, after)
    tested = [each for each in found.rows if not math.isnan(each.p)]
    assert all(each.p_corrected >= each.p for each in tested)
    smallest = min(tested, key=lambda each: each.p)
    assert smallest.p_corrected >= min(1.0, 2 * 3 * smallest.p) * 0.99, "3 metrics, half of each for its mean"


# ------------------------------------------------------------------------------------ circumstances


def test_times_of_other_hardware_are_unknown_and_losses_are_not(before, after):
    found = compare(before, changed(after, device_name="another"))
    assert verdicts(found)[STEP] == "unknown" and verdicts(found)[NLL] == "same"
    assert "other hardware: simulated in A, another in B" in row(found, STEP, MEAN).reason
    assert verdicts(found)[STATE] == "same", "a size is not a time"


def test_losses_on_other_data_are_unknown(before, after):
    found = compare(before, changed(after, dataset="another"))
    assert verdicts(found)[NLL] == "unknown" and verdicts(found)[STEP] == "same"


def test_a_machine_of_another_day_is_not_a_regression_but_a_fifth_slower_is(before, after):
    assert verdicts(compare(before, changed(after, train_step_ms=after.table[STEP] * 1.05)))[STEP] == "same"
    slower = compare(before, changed(after, train_step_ms=after.table[STEP] * 1.25), metrics=[STEP])
    assert verdicts(slower)[STEP] == "worse"


def test_a_margin_wants_sameness_shown_and_harm_beyond_it(before):
    worse = run(loss=0.05, random=2)
    small, large = {NLL: Margin(amount=0.01)}, {NLL: Margin(amount=0.1)}
    assert verdicts(compare(before, worse, margins=small))[NLL] == "worse"
    assert verdicts(compare(before, worse, margins=large))[NLL] == "same"
    noisy = compare(run(noise=0.1, random=1), run(noise=0.1, random=2), margins=small)
    assert verdicts(noisy)[NLL] == "unknown" and "more seeds" in row(noisy, NLL, MEAN).reason
    assert Margin(amount=0.05, relative=True).of(-80.0) == pytest.approx(4.0)


def test_a_trial_that_fails_where_none_did_is_worse(before):
    status = before.table["status"].where(before.table.index != 0, "diverged")
    found = compare(before, changed(before, status=status))
    assert verdicts(found)[TRIALS] == "worse"
    assert row(found, TRIALS, "variant 0").reason == "1 diverged in B"
    assert row(found, NLL, "variant 0").difference.n == 4, "what it measured counts nowhere"
    missing = before.table["status"].where(before.table.index != 0, "missing")
    unfinished = compare(before, changed(before, status=missing))
    assert verdicts(unfinished)[TRIALS] == "same" and "missing in B: 1 of 10 trials" in unfinished.notes


def test_what_differs_in_configuration_is_told(before, after):
    configured = {name: {"train": {"steps": 2}} for name in after.variants}
    found = compare(before, dataclasses.replace(after, configurations=configured))
    assert "configured differently: train.steps: nothing → 2 (2 variants)" in found.notes


def test_only_variants_of_both_are_compared(before):
    found = compare(before, run(variants=3, random=2))
    assert found.variants == ["variant 0", "variant 1"]
    assert "only in B, not compared: variant 2" in found.notes
    strangers = dataclasses.replace(before, variants=["x"], configurations={"x": {}})
    with pytest.raises(HarnessError, match="no variant is in both"):
        compare(before, strangers)


def test_a_metric_that_cannot_be_compared_is_refused_with_the_nearest(before, after):
    with pytest.raises(HarnessError, match="did you mean 'nll_bits_test'"):
        compare(before, after, metrics=["nll_bits_tst"])
    with pytest.raises(HarnessError, match="'key' is not measured in both"):
        compare(before, after, margins={"key": Margin(amount=1.0)})


# ------------------------------------------------------------------------------------------- output


@pytest.fixture(scope="module")
def worse(before):
    return compare(before, run(loss=0.05, random=2))


def test_a_sentence_says_each_verdict(worse, before):
    said = sentences(worse, before.columns)
    assert said[0].startswith("Worse: Test NLL")
    assert said[1].startswith("Same: Trials that succeeded") and "Generation state" in said[1]


def test_the_table_shows_what_is_not_the_same_and_counts_the_rest(worse, before):
    short = lay_out_comparison(worse, before.columns)
    whole = lay_out_comparison(worse, before.columns, everything=True)
    assert len(short.rows) < len(whole.rows) == len(worse.rows)
    hidden = len(whole.rows) - len(short.rows)
    assert any(note.startswith(f"{hidden} rows that say nothing else") for note in short.notes("", ""))
    assert not any("--all" in note for note in whole.notes("", ""))


def test_the_table_says_how_many_trials_are_paired(worse, before):
    notes = " ".join(lay_out_comparison(worse, before.columns).notes("", ""))
    assert (
        "10 trials in A, 10 in B; 10 are paired by variant and seed, 10 of these have the same key" in notes
    )
    assert "Chance that a trial of B does better" in notes


def test_markdown_escapes_names(worse, before):
    text = markdown_comparison(worse, before.columns, before="<a>", after="b_c")
    assert text.startswith("## b\\_c against &lt;a&gt;\n\n**Worse: Test NLL")
    assert "| **worse** |" in text


def test_json_has_every_row_and_no_number_that_json_lacks(worse):
    text = json.dumps(plain(worse), allow_nan=False)
    found = json.loads(text)
    assert len(found["rows"]) == len(worse.rows)
    assert found["rows"][-1]["difference"].keys() == {"mean", "low", "high", "n"}


def test_whether_it_has_a_verdict_decides_the_exit_code(worse):
    assert worse.has(["worse"]) and not worse.has(["unknown"])


# ---------------------------------------------------------------------------------------- revisions


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    top = tmp_path_factory.mktemp("repository")

    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *arguments], cwd=top, check=True, capture_output=True)

    git("init", "-q")
    (top / "results" / "x").mkdir(parents=True)
    (top / "results" / "x" / "plan.json").write_text("old")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    (top / "results" / "x" / "plan.json").write_text("new")
    return top


def test_a_folder_of_a_revision_is_read_as_it_was(repository, monkeypatch):
    from harness.store.revision import opened

    monkeypatch.chdir(repository / "results")
    for place in ("HEAD:results/x", "HEAD:./x"):
        with opened(place) as folder:
            assert (folder / "plan.json").read_text() == "old"
        assert not folder.exists()
    with opened("x") as folder:
        assert (folder / "plan.json").read_text() == "new"


@pytest.mark.parametrize("place", ["nope:results/x", "HEAD:results/y", "HEAD:../../outside"])
def test_what_no_revision_has_is_one_line(repository, monkeypatch, place):
    from harness.store.revision import opened

    monkeypatch.chdir(repository)
    with pytest.raises(HarnessError, match=f"{place}: is no folder here") as refused, opened(place):
        pass
    assert "\n" not in str(refused.value)
