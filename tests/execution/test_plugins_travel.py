"""A plugin named by path reaches a worker that has no such file, as it was when the suite was read."""

import shutil
from pathlib import Path

import pytest

from harness import registry
from harness.errors import HarnessError, PluginError
from harness.execution.isolation import Worker
from harness.execution.run_trial import Task
from harness.suite.suite import load_suite

PLUGIN = Path(__file__).parent / "toy_plugin.py"
SUITE = """name: travel
plugins: [code/travelling_plugin.py]
base: {model: tiny_traveller, data: tiny_traveller_data, train: {steps: 2, batch_size: 2, warmup_steps: 0}}
seeds: 1
measure: [nll]
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        registry, "_registered", {kind: dict(registry._registered[kind]) for kind in registry.KINDS}
    )
    folder = tmp_path / "home"
    (folder / "code").mkdir(parents=True)
    text = (
        PLUGIN.read_text()
        .replace('"tiny_data"', '"tiny_traveller_data"')
        .replace('"tiny"', '"tiny_traveller"')
    )
    (folder / "code" / "travelling_plugin.py").write_text(text.replace('"alone"', '"travellers_alone"'))
    (folder / "travel.yaml").write_text(SUITE)
    return folder


def test_a_worker_elsewhere_needs_no_plugin_file(home, tmp_path, monkeypatch):
    (trial,) = load_suite(home / "travel.yaml").trials
    task = Task(trial=trial, lane="training", folder=str(tmp_path / "trial"))
    shutil.rmtree(home)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    worker = Worker(1)
    try:
        record = worker.run(task, lambda fraction, text: None)
    finally:
        worker.close()
    assert (record.status, record.error) == ("ok", "")
    (copy,) = (tmp_path / "cache" / "plugins").glob("*/*")
    assert copy.name == "travelling_plugin.py"


def test_a_plugin_edited_meanwhile_runs_as_it_was(home, tmp_path):
    file, marker = home / "marked.py", tmp_path / "marker"
    before = f"open({str(marker)!r}, 'w').write('before')\n"
    file.write_text(before.replace("before", "after"))
    registry.load_plugin(file, before)
    assert marker.read_text() == "before"
    file.write_text(before.replace("before", "now"))
    registry.load_plugin(file, file.read_text())
    assert marker.read_text() == "now"


def test_a_copy_that_fails_names_the_file_and_the_line(home):
    with pytest.raises(PluginError, match=r"gone\.py failed at line 2: ZeroDivisionError"):
        registry.load_plugin(home / "gone.py", "x = 1\nx / 0\n")


def test_two_plugins_of_one_name_are_refused_because_a_key_could_not_tell_them_apart(home):
    (home / "travelling_plugin.py").write_text("")
    (home / "travel.yaml").write_text(SUITE.replace("[code/", "[travelling_plugin.py, code/"))
    with pytest.raises(HarnessError, match=r"travel\.yaml:2:.*two plugins are called travelling_plugin\.py"):
        load_suite(home / "travel.yaml")
