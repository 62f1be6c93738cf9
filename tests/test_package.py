"""The wheel alone, outside the checkout: our models, suites and metrics are found by name."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel unpacked into a folder of its own; its dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def harness(installed, tmp_path):
    def harness(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *map(str, arguments)],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return harness


def test_the_wheel_holds_packages_and_suites_and_nothing_else(installed):
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"harness", "models", "baselines"}
    assert (installed / "harness" / "suites" / "pooling_ablation.yaml").is_file()


def test_models_and_suites_are_found_by_name(harness):
    assert {"poolformer", "transformer", "markov", "unigram"} <= set(
        json.loads(harness("list", "models", "--json"))
    )
    assert "pooling_ablation" in json.loads(harness("list", "suites", "--json"))
    plan = json.loads(harness("plan", "pooling_ablation", "--profile", "smoke", "--json"))
    assert plan["trials"]


def test_the_smoke_profile_runs(harness, tmp_path):
    out = harness("run", "pooling_ablation", "--profile", "smoke", "--serial", "--results", tmp_path / "r")
    assert "transformer" in out
    assert (tmp_path / "r" / "table.csv").is_file()
