"""`harness new` writes plugins that work as they are, and never over anything."""

import pytest
from typer.testing import CliRunner

from harness import registry
from harness.cli.main import app
from harness.conformance import check_file
from harness.errors import HarnessError
from harness.suite.suite import load_suite

KINDS = {
    "baseline": "models",
    "mixer": "mixers",
    "dataset": "datasets",
    "metric": "metrics",
    "figure": "figures",
    "tracker": "trackers",
}


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    registered = {kind: dict(registry._registered[kind]) for kind in registry.KINDS}
    monkeypatch.setattr(registry, "_registered", registered)


@pytest.fixture
def harness(tmp_path):
    def harness(*arguments, exit_code=0):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        if isinstance(done.exception, HarnessError):
            raise done.exception
        assert done.exit_code == exit_code, done.output
        return done.stdout

    return harness


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_passes_its_checks_and_its_suite_resolves(harness, tmp_path, kind):
    out = harness("new", kind, f"my_{kind}", "--directory", tmp_path / "deep" / "er")
    folder = tmp_path / "deep" / "er"
    assert {file.name for file in folder.iterdir()} == {
        f"my_{kind}.py",
        f"test_my_{kind}.py",
        f"my_{kind}.yaml",
    }
    assert f"harness check {folder / f'my_{kind}.py'}" in out
    checked = harness("check", folder / f"my_{kind}.py")
    assert checked.endswith("checks passed\n")
    assert "FAIL" not in checked
    suite = load_suite(folder / f"my_{kind}.yaml")
    assert suite.name == f"my_{kind}"
    assert suite.config.plugins == () and len(suite.plugin_files) == 1
    assert f"my_{kind}" in registry.names(KINDS[kind])
    for file in folder.iterdir():
        assert "template" not in file.read_text().lower()


def test_the_test_that_is_written_passes(harness, tmp_path):
    harness("new", "metric", "my_other_metric", "-d", tmp_path)
    source = (tmp_path / "test_my_other_metric.py").read_text()
    content = {"__file__": str(tmp_path / "test_my_other_metric.py")}
    exec(compile(source, "test_my_other_metric.py", "exec"), content)
    content["test_my_other_metric_is_ready_for_a_suite"]()
    assert check_file(tmp_path / "my_other_metric.py")


def test_nothing_is_ever_overwritten(harness, tmp_path):
    (tmp_path / "mine.yaml").write_text("kept")
    with pytest.raises(HarnessError, match=r"mine\.yaml: there already; nothing was written"):
        harness("new", "baseline", "mine", "-d", tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"mine.yaml": "kept"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MyModel", "such as mymodel"),
        ("my-model", "such as my_model"),
        ("../mine", "such as mine"),
        ("class", "such as my_class"),
        ("", "such as my_model"),
        ("transformer", r"already \(baselines.transformer:Transformer\); .* such as my_transformer"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_one_that_can(harness, tmp_path, name, words):
    with pytest.raises(HarnessError, match=words):
        harness("new", "baseline", name, "-d", tmp_path)
    assert not list(tmp_path.iterdir())
