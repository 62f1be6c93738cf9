"""The command line: verbs, exit codes, and one clear message for a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app

PLUGIN = Path(__file__).parents[1] / "execution" / "toy_plugin.py"

SUITE = f"""name: toy
question: Does it <b>work</b>?
plugins: [{PLUGIN}]
base:
  model: {{name: tiny}}
  data: {{name: tiny_data}}
  train: {{steps: 2, batch_size: 2, warmup_steps: 0, validate_every: 1}}
vary: {{model.width: [8]}}
seeds: 1
measure: [nll, alone]
"""


@pytest.fixture
def suite(tmp_path):
    file = tmp_path / "toy.yaml"
    file.write_text(SUITE)
    return file


def harness(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def refused(tmp_path):
    """Runs a command that must be refused: exit 2, one message, no traceback, nothing written."""

    def refused(*arguments, words=()):
        before = sorted(p.name for p in tmp_path.iterdir())
        done = harness(*arguments, cwd=tmp_path)
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
        for word in words:
            assert word in done.stderr, done.stderr
        assert sorted(p.name for p in tmp_path.iterdir()) == before

    return refused


def test_help_imports_neither_torch_nor_ray_nor_pandas():
    code = (
        "import sys; sys.argv = ['harness', '--help']\n"
        "from harness.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'pandas', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


VERBS = ("plan", "run", "status", "report", "sample", "evaluate", "list", "show", "new", "check", "doctor")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, tmp_path):
    done = harness(verb, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Example: harness {verb}" in " ".join(done.stdout.split())


@pytest.mark.parametrize("kind", ["models", "mixers", "datasets", "metrics", "figures", "trackers", "suites"])
def test_list_describes_each_thing_in_a_line(kind, tmp_path):
    done = harness("list", kind, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found
    for name, description in found.items():
        assert description and not description.startswith("(broken"), (name, description)


def test_plan_lists_every_trial_and_writes_nothing(suite, tmp_path):
    done = harness("plan", suite, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("base", "width=8", "parameters", "to run", "2 trials: 2 to run, 0 cached"):
        assert word in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["toy.yaml"]


def test_plan_counts_the_slots_of_the_device_that_a_run_would_use(suite, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.execution.places._cpus", lambda: 2)
    monkeypatch.setattr("harness.execution.places._gpus", lambda: 4)
    seconds = []
    for device in ("cpu", "cuda"):
        done = CliRunner().invoke(app, ["plan", str(suite), "--device", device, "--json"])
        seconds.append(json.loads(done.stdout)["estimated_seconds"])
    assert seconds[0] == pytest.approx(2 * seconds[1], abs=0.1)


def test_plan_is_machine_readable(suite, tmp_path):
    plan = json.loads(harness("plan", suite, "--json", cwd=tmp_path).stdout)
    assert [(t["variant"], t["state"]) for t in plan["trials"]] == [("base", "to run"), ("width=8", "to run")]
    assert plan["trials"][0]["parameters"] > 0
    assert len(plan["trials"][0]["key"]) == 64


def test_run_status_report_and_again(suite, tmp_path):
    first = harness("run", suite, "--serial", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "results" / "toy"
    assert "figures" in first.stdout and "width=8" in first.stdout
    for name in (
        "table.csv",
        "table.parquet",
        "summary.csv",
        "summary.md",
        "summary.tex",
        "plan.json",
        "suite.yaml",
    ):
        assert (folder / name).is_file(), name
    again = harness("run", suite, "--serial", cwd=tmp_path)
    assert "2 trials: 0 to run, 2 cached" in again.stderr
    states = json.loads(harness("status", folder, "--json", cwd=tmp_path).stdout)
    assert [s["status"] for s in states] == ["ok", "ok"]
    table = (folder / "table.csv").read_bytes()
    (folder / "table.csv").unlink()
    assert harness("report", folder, cwd=tmp_path).returncode == 0
    assert (folder / "table.csv").read_bytes() == table


def test_a_failed_trial_makes_run_exit_1(suite, tmp_path):
    done = harness("run", suite, "--serial", "--set", "model.wrong=raise", cwd=tmp_path)
    assert done.returncode == 1
    assert "2 failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_show_says_where_each_value_comes_from(suite, tmp_path):
    done = harness("show", suite, "width=8", "--set", "train.steps=7", cwd=tmp_path)
    text = " ".join(done.stdout.split())
    for words in ("model.width", "variant width=8", "--set train.steps=7", "default"):
        assert words in text


def test_usage_errors_name_the_place_and_write_nothing(suite, refused, tmp_path):
    refused("run", tmp_path / "none.yaml", words=["none.yaml: no such file"])
    refused("run", tmp_path, words=["is a directory"])
    refused("run", "pooling_ablatio", words=["did you mean 'pooling_ablation'?"])
    refused("run", suite, "--set", "model.widht=3", words=["--set model.widht=3", "widht"])
    refused("run", suite, "--profile", "quick", words=["no profile 'quick'"])
    refused("run", suite, "--results", suite, words=["is a file", "--results"])
    refused("run", suite, "--results", "/proc/nowhere", words=["cannot be written"])
    refused("report", tmp_path, words=["no plan.json"])
    refused("status", tmp_path / "nowhere", words=["no plan.json"])
    refused("show", suite, "width=9", words=["no variant 'width=9'", "did you mean 'width=8'?"])
    refused("list", "modles")
    refused("check", "poolfomer", words=["did you mean 'poolformer'?"])


def test_a_data_set_that_cannot_be_had_is_refused_before_anything_runs(suite, refused, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, words in (("empty", "holds no sound files"), ("nowhere", "nowhere")):
        settings = ("--set", "data.name=audio_folder", "--set", f"data.path={path}")
        refused("run", suite, "--serial", *settings, words=[words])


def test_check_gives_a_verdict_a_line_and_exits_1_for_a_broken_model(tmp_path):
    done = harness("check", PLUGIN, cwd=tmp_path)
    assert "causality" in done.stdout.lower()
    leak = tmp_path / "leak.py"
    leak.write_text(
        PLUGIN.read_text()
        .replace("(1, 0), value=self.start)[:, :-1]", "(0, 0))")
        .replace('"tiny', '"leaky_tiny')
    )
    broken = harness("check", leak, cwd=tmp_path)
    assert broken.returncode == 1
    assert "FAIL" in broken.stdout
