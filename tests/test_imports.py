"""Who may import whom, and what must not be imported before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND_FLOOR = {f"harness.{name}" for name in ("contracts", "registry", "configuration", "errors", "cache")}
HEAVY = {"torch", "torchaudio", "ray", "pandas", "matplotlib", "seaborn", "scipy", "pyarrow"}


def sources(*folders):
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(path, *, inside_functions=True):
    """Absolute names of the modules that a file imports, those for type checking alone left out."""

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if is_type_checking(child):
                continue
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                yield from qualified(child)
            yield from walk(child)

    return set(walk(ast.parse(path.read_text(encoding="utf-8"))))


def qualified(node):
    """``from harness import registry`` imports harness.registry, not a name of harness."""
    for alias in node.names:
        inner = ROOT.joinpath(*node.module.split("."), alias.name)
        is_module = inner.with_suffix(".py").is_file() or inner.is_dir()
        yield f"{node.module}.{alias.name}" if is_module else node.module


def package(module):
    return module.partition(".")[0]


@pytest.mark.parametrize("module", sorted(GROUND_FLOOR))
def test_the_ground_floor_imports_itself_and_nothing_heavy(module):
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    imported = imports(path)
    assert {name for name in imported if package(name) == "harness"} <= GROUND_FLOOR
    assert not {package(name) for name in imported} & (HEAVY | {"models", "baselines"})


@pytest.mark.parametrize("path", sources("models", "baselines"), ids=name_of)
def test_models_stand_on_the_ground_floor_alone(path):
    assert {name for name in imports(path) if package(name) == "harness"} <= GROUND_FLOOR


@pytest.mark.parametrize("path", sources("models"), ids=name_of)
def test_models_do_not_know_the_baselines(path):
    assert "baselines" not in {package(name) for name in imports(path)}


@pytest.mark.parametrize("path", sources("harness"), ids=name_of)
def test_the_harness_reaches_models_through_the_registry_only(path):
    assert not {package(name) for name in imports(path)} & {"models", "baselines"}


@pytest.mark.parametrize("path", sources("harness", "models", "baselines"), ids=name_of)
def test_ray_is_imported_by_its_driver_alone(path):
    assert "ray" not in {package(name) for name in imports(path)} or path.name.startswith("ray_")


@pytest.mark.parametrize("folder", ["harness/cli", "harness/suite", "harness/store"])
def test_the_command_line_suites_and_store_import_nothing_heavy_at_the_top(folder):
    heavy = {
        f"{name_of(path)} imports {name}"
        for path in sources(folder)
        for name in imports(path, inside_functions=False)
        if package(name) in HEAVY
    }
    assert not heavy


def loaded_by(code):
    """Heavy modules that are loaded after `code` ran in a fresh interpreter."""
    report = f"import sys\n{code}\nprint(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import harness; dir(harness)",
        "from harness import registry; [registry.names(kind) for kind in registry.KINDS]",
        "from harness import registry; [registry.describe('models', n) for n in registry.names('models')]",
        "import harness.configuration, harness.contracts, harness.errors",
        "import harness.suite.suite, harness.store.store, harness.cli.main",
    ],
)
def test_a_fresh_interpreter_stays_light(code):
    assert loaded_by(code) == []


def test_a_serial_run_needs_no_ray():
    assert "ray" not in loaded_by("import harness.api, harness.execution.run_suite, harness.execution.worker")


def test_the_probe_for_heavy_modules_works():
    assert "torch" in loaded_by("import baselines.unigram")
