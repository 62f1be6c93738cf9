"""On every node of a cluster the driver's code, and packages like its own.

Where the harness runs from a checkout, the checkout's packages go to the nodes with Ray's runtime
environment, as they are now, changes and all; with them goes what git says of them, for the records. An
installed harness stays at home: the nodes must have the same. Plugin files travel within each task
(`Trial.plugin_texts`).
"""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.execution.provenance import GIT_STATE, HOME, git_state, package_versions

PACKAGES = ("harness", "models", "baselines")

NODE_NAME = "HARNESS_NODE"
"""Variable of a node's actor and its trials: the first digits of Ray's id of the node."""

CURES = {
    "code": "leave another harness out of the nodes' PYTHONPATH",
    "installed harness": "install the same version on all",
    "python": "use one Python on all",
    "torch": "install the same torch on all: its numbers differ from release to release",
    "numpy": "install the same numpy on all: random draws differ from release to release",
}


@dataclass(frozen=True)
class NodeFacts:
    """With what a node would run a trial."""

    node_id: str
    versions: dict[str, str]


def facts_of(node_id: str) -> NodeFacts:
    """Of this process. Loads nothing."""
    packages = package_versions()
    state = git_state()
    if state["git_dirty"] is None:
        code = {"installed harness": state["git_commit"]}
    else:
        code = {"code": f"{state['git_commit'][:12]} {state.get('git_diff_sha256', '')[:12]}".strip()}
    versions = {
        **code,
        "python": ".".join(platform.python_version_tuple()[:2]),
        # Without the local part: a head node without a GPU has another build of the same release.
        **{name: packages.get(name, "none").partition("+")[0] for name in ("torch", "numpy")},
    }
    return NodeFacts(node_id, versions)


def check_same(there: NodeFacts) -> None:
    """Raises: HarnessError naming what differs on a node, so that no table mixes two of them."""
    here = facts_of("")
    for name in sorted({*here.versions, *there.versions}):
        ours, theirs = here.versions.get(name, "none"), there.versions.get(name, "none")
        if ours != theirs:
            raise HarnessError(
                f"node {there.node_id[:8]} of the Ray cluster has {name} {theirs}, this driver {ours}; "
                f"{CURES[name]} (docs/cluster.md)"
            )


@contextlib.contextmanager
def code_along() -> Iterator[dict[str, Any]]:
    """Options of `ray.init`, which must be called within: the checkout's code goes along, if this is one."""
    if not (HOME / "pyproject.toml").is_file():
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="harness-code-") as folder:
        stage(Path(folder))
        yield {"runtime_env": {"working_dir": folder}}


def stage(folder: Path) -> None:
    """Copy what runs a trial: the packages, the names that they declare, and what git says of them."""
    for name in PACKAGES:
        shutil.copytree(HOME / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.copy(HOME / "pyproject.toml", folder)
    (folder / GIT_STATE).write_text(json.dumps(git_state()), encoding="utf-8")
