"""What a record says of the code: the commit, and the patch on top of it."""

import hashlib
import subprocess

import pytest
import torch

from harness.execution import provenance
from harness.store.store import Store


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository of one commit that takes the harness's place."""

    def git(*arguments):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    (tmp_path / "code.py").write_text("a = 1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.setattr(provenance, "HOME", tmp_path)
    for cached in (provenance.git_state, provenance.uncommitted):
        cached.cache_clear()
    yield tmp_path
    for cached in (provenance.git_state, provenance.uncommitted):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("program", "typed"),
    [("/home/x/.venv/bin/harness", "harness"), ("/home/x/harness/__main__.py", "python -m harness")],
)
def test_a_command_is_one_that_can_be_typed_again(program, typed, monkeypatch):
    monkeypatch.setattr("sys.argv", [program, "run", "a b.yaml"])
    assert provenance.command_line() == f"{typed} run 'a b.yaml'"


def test_a_clean_checkout_is_its_commit(checkout):
    state = provenance.git_state()
    assert state["git_dirty"] is False and len(state["git_commit"]) == 40
    assert "git_diff_sha256" not in state


def test_results_are_not_code(checkout):
    (checkout / "results").mkdir()
    (checkout / "results" / "table.csv").write_text("x\n")
    assert provenance.git_state()["git_dirty"] is False


def test_a_modified_checkout_is_its_commit_and_the_digest_of_a_patch_that_the_store_keeps(checkout, tmp_path):
    (checkout / "code.py").write_text("a = 2\n")
    state = provenance.git_state()
    assert state["git_dirty"] is True and "+a = 2" in provenance.uncommitted()
    store = Store(tmp_path / "store")
    store.write_patch(provenance.uncommitted())
    (kept,) = (tmp_path / "store" / "patches").iterdir()
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == state["git_diff_sha256"]


def test_variables_that_change_numbers_or_times_are_recorded(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SECRET_TOKEN", "no")
    described = provenance.describe(torch.device("cpu"))
    assert (
        described["environment"]["OMP_NUM_THREADS"] == "3" and "no" not in described["environment"].values()
    )
