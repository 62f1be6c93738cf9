"""One trial of a results folder: shown with all that it left, and run again from its record."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import harness
from harness.cli.main import app
from harness.errors import HarnessError

PLUGIN = Path(__file__).parents[1] / "execution" / "toy_plugin.py"
SUITE = f"""name: toy
plugins: [{PLUGIN}]
base:
  model: {{name: tiny}}
  data: {{name: tiny_data}}
  train: {{steps: 3, batch_size: 2, warmup_steps: 0, validate_every: 2}}
vary: {{model.wrong: ["", raise]}}
seeds: 2
measure: [nll, alone]
figures: []
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.yaml").write_text(SUITE)
    harness.run_suite(folder / "toy.yaml", results=folder / "results", serial=True)
    return folder / "results"


def call(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if isinstance(result.exception, HarnessError):
        raise result.exception
    return result


def record_of(results, name):
    (folder,) = (results / "trials").glob(f"{name}-*")
    return folder / "record.json"


def test_show_prints_configuration_measurements_and_provenance(results):
    shown = call("show", results, "base-s1").stdout
    for text in ("seed 1", "nll_bits_test", "torch_version", "model.width", "git_commit"):
        assert text in shown


def test_a_key_of_four_digits_is_enough_and_json_is_the_record(results):
    record = json.loads(record_of(results, "base-s0").read_text())
    shown = json.loads(call("show", results, record["key"][:4], "--json").stdout)
    assert shown == record


def test_a_failed_trial_is_shown_with_its_error(results):
    assert "it <broke>" in call("show", results, "wrong=raise-s0").stdout


def test_a_name_of_several_trials_or_of_none_is_refused_with_what_there_is(results):
    with pytest.raises(HarnessError, match=r"several trials .* base-s0, base-s1"):
        call("show", results, "base")
    with pytest.raises(HarnessError, match="has no trial 'bas-s0'; did you mean 'base-s0'"):
        call("show", results, "bas-s0")
    with pytest.raises(HarnessError, match="name a trial"):
        call("show", results)


def test_a_rerun_gives_the_same_numbers_and_changes_nothing(results):
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    done = call("rerun", results, "base-s0")
    assert done.exit_code == 0 and "the same numbers, to the last bit" in done.stdout
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


def test_a_rerun_that_gives_other_numbers_says_which_and_what_is_not_as_it_was(results):
    path = record_of(results, "base-s1")
    original = path.read_text()
    changed = json.loads(original)
    changed["columns"]["nll_bits_test"] += 1e-9
    changed["provenance"]["torch_version"] = "1.0"
    path.write_text(json.dumps(changed))
    try:
        done = call("rerun", results, "base-s1")
        plain = json.loads(call("rerun", results, "base-s1", "--json").stdout)
    finally:
        path.write_text(original)
    assert done.exit_code == 1 and "not as it was: torch_version was 1.0" in done.stdout
    assert plain["same"] is False
    differing = [each["column"] for each in plain["columns"] if each["recorded"] != each["now"]]
    assert differing == ["nll_bits_test"]


def test_a_failure_that_fails_again_is_the_same(results):
    assert call("rerun", results, "wrong=raise-s0").exit_code == 0
