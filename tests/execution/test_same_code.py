"""The driver's code on every node, with what git says of it; nodes that differ are refused in words."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.errors import HarnessError
from harness.execution.same_code import check_same, facts_of, stage


def test_code_that_was_sent_runs_elsewhere_and_says_where_it_came_from(tmp_path):
    stage(tmp_path)
    program = (
        "import json; from harness import registry; from harness.execution.same_code import facts_of;"
        "from harness.execution.provenance import git_state;"
        "print(json.dumps([registry.names('models'), registry.get('mixers', 'lru').__module__,"
        "facts_of('').versions, git_state()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    models, mixer, versions, state = json.loads(done.stdout)
    assert "poolformer" in models and mixer == "models.mixers.lru"
    assert versions == facts_of("").versions
    assert state == json.loads((tmp_path / "git_state.json").read_text())
    assert not list(tmp_path.rglob("__pycache__/*.part*")) and not (tmp_path / "results").exists()


def test_a_node_like_the_driver_is_welcome():
    check_same(facts_of("0123456789"))


@pytest.mark.parametrize(
    ("differs", "words"),
    [
        ({"torch": "1.13.0"}, "node 01234567 of the Ray cluster has torch 1.13.0, this driver "),
        ({"installed harness": "v0.0.9", "code": "none"}, "has (code none|installed harness v0.0.9), this"),
        ({"python": "3.9"}, "use one Python on all"),
    ],
)
def test_a_node_with_other_code_or_packages_is_refused_with_both_named(differs, words):
    facts = facts_of("0123456789")
    with pytest.raises(HarnessError, match=words):
        check_same(replace(facts, versions={**facts.versions, **differs}))
