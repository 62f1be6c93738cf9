"""Records survive a round trip, are whole or absent, and become tidy tables."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.store.atomic import replacing, write_text
from harness.store.record import Record, read_record, write_record
from harness.store.store import Store
from harness.store.table import build_history, build_table
from harness.suite.trial import Trial

CONFIG = {
    "model": {"name": "poolformer", "pooling": [2, 4], "mixer": {"name": "rg_lru"}, "layers": 2, "width": 8},
    "data": {"name": "synthetic_digits"},
    "train": {"steps": 3, "precision": "float32"},
    "measure": [],
}
TRIAL = Trial("pooling=[2,4]", 1, CONFIG)


def record(**changes):
    return Record(**{
        "key": TRIAL.key, "variant": TRIAL.variant, "seed": 1, "config": CONFIG, "status": "ok", **changes,
    })  # fmt: skip


numbers = st.one_of(st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())


@settings(max_examples=25, deadline=None)
@given(columns=st.dictionaries(st.text(max_size=8), numbers, max_size=5))
def test_a_record_reads_back_as_it_was_written(tmp_path_factory, columns):
    path = tmp_path_factory.mktemp("record") / "record.json"
    written = record(columns=columns, lanes=("training",))
    write_record(path, written)
    assert read_record(path) == written


def test_not_a_number_is_written_as_null_and_stays_valid_json(tmp_path):
    write_record(tmp_path / "r.json", record(columns={"a": math.nan, "b": math.inf}))
    assert json.loads((tmp_path / "r.json").read_text())["columns"] == {"a": None, "b": "inf"}


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path):
    write_text(tmp_path / "f", "old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "f") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "old"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 99}', '{"schema_version": 1}', "{}"])
def test_what_is_no_record_is_refused_by_name(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(HarnessError, match=r"record.json"):
        read_record(tmp_path / "record.json")


def test_a_trial_is_found_by_its_key_whatever_the_folder_is_called(tmp_path):
    folder = tmp_path / "trials" / f"old-name-s1-{TRIAL.short_key}"
    write_record(folder / "record.json", record())
    store = Store(tmp_path)
    assert store.trial_folder(TRIAL) == folder
    assert store.record(TRIAL) == record()


def test_a_folder_that_holds_another_key_is_refused(tmp_path):
    folder = tmp_path / "trials" / f"x-{TRIAL.short_key}"
    write_record(folder / "record.json", record(key="0" * 64))
    with pytest.raises(HarnessError, match="holds key 000000000000"):
        Store(tmp_path).record(TRIAL)


def test_lanes_add_up_to_a_finished_record():
    half = record(lanes=("training",), columns={"a": 1})
    assert not half.finished and half.lacks("exclusive")
    whole = half.with_lane("exclusive", {"b": 2}, {"exclusive": {"threads": 1}})
    assert whole.finished and whole.columns == {"a": 1, "b": 2}


def test_a_table_has_a_row_for_every_trial_missing_ones_too():
    other = Trial("markov", 0, {**CONFIG, "model": {"name": "markov", "order": 1}})
    pairs = [(TRIAL, record(columns={"zeta": 1.0, "nll_bits_test": 4.5}, error="a\nb")), (other, None)]
    table = build_table(pairs)
    assert list(table["status"]) == ["ok", "missing"]
    assert list(table["pooling"]) == ["[2, 4]", ""]
    assert list(table["mixer"]) == ["rg_lru", ""]
    assert table["error"][0] == "a"
    columns = list(table.columns)
    assert columns[:5] == ["variant", "seed", "key", "status", "error"]
    assert columns.index("nll_bits_test") < columns.index("zeta")


def test_a_row_has_the_length_of_a_training_clip_whether_the_trial_ended_or_not():
    def trial(data, **train):
        return Trial("base", 0, {**CONFIG, "data": data, "train": {**CONFIG["train"], **train}})

    second = {"name": "synthetic_digits", "sample_rate": 8000, "seconds": 1.0}
    trials = [trial(second), trial(second, crop=480), trial({"name": "of_a_plugin_that_is_not_here"})]
    lengths = build_table([(each, None) for each in trials])["length"]
    assert lengths[:2].tolist() == [8000, 480] and lengths.isna()[2]


def test_learning_curves_are_stacked_with_their_trial(tmp_path):
    folder = tmp_path / "trials" / TRIAL.folder_name
    folder.mkdir(parents=True)
    (folder / "history.csv").write_text("step,nll_bits_validation\n0,8.0\n1,7.5\n")
    history = build_history(Store(tmp_path), [TRIAL])
    assert list(history["variant"]) == [TRIAL.variant] * 2
    assert list(history["nll_bits_validation"]) == [8.0, 7.5]
