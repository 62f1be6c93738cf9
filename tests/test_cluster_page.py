"""docs/cluster.md: its files are what Ray, Kubernetes and a shell take them for."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

PAGE = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")
SOURCES = Path(__file__).parents[1] / "harness"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def files():
    """The page's YAML: a cluster file of Ray's, and a job of KubeRay's."""
    return [yaml.safe_load(text) for text in blocks("yaml")]


def test_the_cluster_file_is_one_by_rays_own_schema(files):
    jsonschema = pytest.importorskip("jsonschema")
    ray = Path(importlib.util.find_spec("ray").origin).parent
    jsonschema.validate(files[0], json.loads((ray / "autoscaler" / "ray-schema.json").read_text()))
    for kind in ("head", "worker"):
        (start,) = [each for each in files[0][f"{kind}_start_ray_commands"] if " start " in each]
        assert """--resources='{"harness_node": 1}'""" in start


def test_the_job_gives_its_workers_the_resource_that_measurements_hold(files):
    job = files[1]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    (workers,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert json.loads(json.loads(workers["rayStartParams"]["resources"])) == {"harness_node": 1}
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert "resources" not in head["rayStartParams"]


@pytest.mark.parametrize("script", blocks("bash"), ids=["one node", "several nodes"])
def test_the_scripts_are_read_by_a_shell(script):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    done = subprocess.run([bash, "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert script.startswith("#!/bin/bash\n#SBATCH ")


@pytest.mark.parametrize("name", ["HARNESS_SCRATCH", "harness_node"])
def test_what_a_node_is_told_is_what_the_code_reads(name):
    assert name in PAGE
    assert f'"{name}"' in "".join(
        path.read_text(encoding="utf-8") for path in (SOURCES / "execution").glob("ray_*.py")
    )


def test_the_files_name_a_release_of_ray_that_the_project_takes(files):
    needs = (SOURCES.parent / "pyproject.toml").read_text(encoding="utf-8")
    (least,) = re.findall(r'"ray\[tune\]>=(\d+)\.(\d+)"', needs)
    said = files[1]["spec"]["rayClusterSpec"]["rayVersion"].split(".")
    assert tuple(map(int, said[:2])) >= tuple(map(int, least))
