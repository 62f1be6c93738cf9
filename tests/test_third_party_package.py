"""A published package is found by its entry points: a real wheel, installed into a fresh environment."""

import json
import subprocess
import sys
import sysconfig
import venv

import pytest

from harness.cli.new import _filled

PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "strangers-models"
version = "1.0"

[project.entry-points."harness.models"]
strangers_rnn = "strangers_models.rnn:StrangersRnn"
strangers_wreck = "strangers_models.wreck:Wreck"

[project.entry-points."harness.mixers"]
strangers_mixer = "strangers_models.mixer:StrangersMixer"
"""

USE = """
import json
import torch
import harness
from harness import registry

model = harness.build_model({"name": "strangers_rnn", "width": 8}, vocab_size=16)
inside = harness.build_model({"name": "poolformer", "width": 8, "layers": 1, "mixer": "strangers_mixer"})
tokens = torch.zeros(2, 5, dtype=torch.long)
try:
    registry.get("models", "strangers_wreck")
except harness.errors.PluginError as error:
    wreck = str(error)
print(json.dumps({
    "shapes": [list(model(tokens).shape), list(inside(tokens).shape)],
    "line": registry.describe("models", "strangers_rnn"),
    "origin": registry.origin("models", "strangers_rnn"),
    "listed": registry.names("models"),
    "wreck": wreck,
}))
"""


def unregistered(kind, name):
    """What `harness new` writes, without its @register line: an entry point says the name."""
    lines = _filled(f"{kind}.py", name).splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("@register"))


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment that has the wheel, and sees what is installed here."""
    folder = tmp_path_factory.mktemp("third_party")
    package = folder / "source" / "strangers_models"
    package.mkdir(parents=True)
    (folder / "source" / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").write_text("")
    (package / "rnn.py").write_text(unregistered("baseline", "strangers_rnn"))
    (package / "mixer.py").write_text(unregistered("mixer", "strangers_mixer"))
    (package / "wreck.py").write_text("import something_that_nobody_has\n")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    subprocess.run([*build, folder / "source"], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    # `addsitedir`, unlike a plain line of a .pth file, also follows the .pth files of that folder.
    here = sysconfig.get_path("purelib")
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    (site / "outer.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel]
    subprocess.run(install, check=True, capture_output=True)
    return python


def test_an_installed_package_is_found_used_and_spoils_nothing_when_part_of_it_is_broken(python, tmp_path):
    done = subprocess.run([python, "-c", USE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["shapes"] == [[2, 5, 16], [2, 5, 256]]
    assert found["line"].startswith("A leaky memory of the tokens so far")
    assert found["origin"] == "strangers_models.rnn:StrangersRnn"
    assert {"strangers_rnn", "strangers_wreck", "poolformer"} <= set(found["listed"])
    assert "strangers_models.wreck:Wreck) does not import: ModuleNotFoundError" in found["wreck"]
