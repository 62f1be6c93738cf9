"""Before the final stage every variant is searched alike; what is found is frozen into its trials."""

import pandas as pd
import pytest

import harness
from harness.contracts import FigureData
from harness.errors import HarnessError
from harness.execution import run_trial
from harness.execution.executor import Interrupted
from harness.store.record import read_record
from harness.tuning.outcome import read_outcomes
from harness.tuning.stage import look_up, tuned

TUNE = (
    "tune: {{over: {{train.learning_rate: {{log_uniform: [1e-6, 5e-2]}}}}, trials: {trials}, max_steps: 6}}\n"
)


def rows(folder):
    return pd.read_csv(folder / "tuning.csv")


def test_the_chosen_search_trial_has_the_lowest_validation_nll_and_its_values_are_frozen(searched):
    table = rows(searched.folder)
    for variant in searched.suite.variants[:2]:
        own = table[(table["variant"] == variant.name) & ~table["stopped_early"]]
        best = own.loc[own["nll_bits_validation"].idxmin()]
        assert bool(best["chosen"])
        assert variant.config["train"]["learning_rate"] == best["train.learning_rate"]
        assert own["nll_bits_validation"].nunique() > 1
    base = searched.suite.variants[0].config["train"]
    assert base["learning_rate"] > 1e-4, "the suite's own rate is far too low, and the search finds better"
    assert base["steps"] == 9, "only the searched settings are taken over"


def test_every_variant_is_tried_as_often_with_the_same_values(searched):
    table = rows(searched.folder)
    assert list(table["variant"].unique()) == ["base", "width=8"], "closed forms have no rate to search"
    tried = [own["train.learning_rate"].tolist() for _, own in table.groupby("variant")]
    assert len(tried[0]) == 6 and tried[0] == tried[1]
    assert (table["max_steps"] == 6).all()


def test_all_seeds_of_the_final_stage_run_to_their_end_and_no_search_trial_is_among_them(searched):
    assert searched.outcome.exit_code == 0
    final = harness.load_results(searched.folder)
    assert len(final) == 3 * 2 and (final["status"] == "ok").all()
    history = harness.load_figure_data(searched.folder).history
    assert (history[history["variant"] != "counted"].groupby("key")["step"].max() == 9).all()
    assert not {*final["key"]} & {*rows(searched.folder)["key"]}


def test_halving_stops_the_worse_ones_before_their_end(searched):
    table = rows(searched.folder)
    stopped = table[table["stopped_early"]]
    assert 0 < len(stopped) < len(table)
    assert (stopped["steps"] < 6).all() and (table.loc[~table["stopped_early"], "steps"] == 6).all()
    assert not stopped["chosen"].any()


def test_the_test_split_is_never_measured_in_a_search(searched):
    records = [read_record(path) for path in searched.folder.glob("tuning/trials/*/record.json")]
    assert records and not any("nll_bits_test" in record.columns for record in records)
    assert not list(searched.folder.glob("tuning/trials/*/*.safetensors")), "weights of candidates go"


def test_an_equal_search_is_not_run_again_and_a_changed_one_is(searched, load):
    assert look_up(load(), searched.folder).missing == []
    longer = load(overrides=["seeds=3", "measure=[nll, efficiency]"])
    assert look_up(longer, searched.folder).missing == []
    other = look_up(load(TUNE.format(trials=7)), searched.folder)
    assert [search.variant.name for search in other.missing] == ["base", "width=8"]


def test_a_tuned_value_is_told_with_its_source_and_a_plan_keeps_it(searched):
    origin, _ = searched.suite.variants[0].settings.origin(("train", "learning_rate"))
    assert origin.place == f"tuned ({searched.folder / 'tuned.json'})"
    frozen = harness.api.Store(searched.folder).read_plan()["variants"][0]["tuned"]
    assert frozen["search_trials"] == 6 and frozen["values"] == searched.suite.variants[0].tuned["values"]


def test_the_command_line_wins_over_a_search(load, tmp_path):
    said = load(overrides=["train.learning_rate=0.004"])
    tuning = look_up(said, tmp_path)
    assert tuning.searches == []
    assert tuned(said, tuning).variants[0].config["train"]["learning_rate"] == 0.004


def test_an_interrupted_search_continues_with_what_is_missing(load, search, tmp_path, monkeypatch):
    suite = load(TUNE.format(trials=4).replace("max_steps", "scheduler: none, max_steps"))
    trained = []
    real = run_trial.run_task
    monkeypatch.setattr(
        "harness.tuning.serial_search.run_task",
        lambda task, *rest: (trained.append(task.trial.key), real(task, *rest))[1],
    )
    with pytest.raises(Interrupted):
        search(suite, tmp_path, stop_after=0.3)
    before = len(trained)
    assert 1 < before < 8 and read_outcomes(tmp_path) == {}
    tuning = search(suite, tmp_path)
    assert tuning.missing == [] and len(trained) == 8 + 1, "only the one that was under way begins again"


def test_a_search_whose_trials_all_fail_says_so_and_changes_nothing(load, search, tmp_path):
    suite = load(TUNE.format(trials=2), overrides=["model.wrong=raise", "vary=null", "variants={}"])
    found = tuned(suite, search(suite, tmp_path)).variants[0]
    assert found.tuned["values"] == {} and "it <broke>" in found.tuned["remark"]
    assert found.config["train"]["learning_rate"] == 1e-6
    assert (rows(tmp_path)["status"] == "failed").all()


def test_a_damaged_file_of_searches_is_refused(load, tmp_path):
    (tmp_path / "tuned.json").write_text("{")
    with pytest.raises(HarnessError, match=r"tuned.json: holds no searches .* remove it"):
        look_up(load(), tmp_path)


def test_optuna_that_is_not_installed_is_asked_for_before_anything_starts(
    load, search, tmp_path, monkeypatch
):
    monkeypatch.setattr("harness.tuning.stage.find_spec", lambda name: None)
    suite = load(TUNE.format(trials=2).replace("max_steps", "search: optuna, max_steps"))
    with pytest.raises(HarnessError, match=r"pip install 'longseq-harness\[tune\]'"):
        search(suite, tmp_path, serial=False)


def test_the_figure_shows_every_search_trial_and_the_best_so_far(searched):
    from harness.analysis.figures.tuning import Tuning

    data: FigureData = harness.load_figure_data(searched.folder)
    figure = Tuning(Tuning.Config())
    numbers = figure.numbers(data)
    assert len(numbers) == 12
    last = numbers.groupby("variant")["best_so_far"].last()
    chosen = numbers[numbers["chosen"]].set_index("variant")["nll_bits_validation"]
    assert last.to_dict() == chosen.to_dict()
    assert len(figure.draw(data).axes) == 2


def test_through_ray_tune_the_same_search_ends_the_same(searched, load, search, tmp_path):
    tuning = search(load(TUNE.format(trials=6), overrides=["vary=null"]), tmp_path, serial=False)
    ray, serial = rows(tmp_path), rows(searched.folder)
    serial = serial[serial["variant"] == "base"]
    assert ray["key"].tolist() == serial["key"].tolist()
    told = ["steps", "nll_bits_validation", "stopped_early", "chosen", "status"]
    assert ray[told].equals(serial[told]), "one after another, its ASHA halts whom ours does"
    assert ray["stopped_early"].any() and tuning.missing == []
    assert not list(tmp_path.rglob("*.safetensors"))
