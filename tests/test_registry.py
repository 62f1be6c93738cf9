"""The registry: names without imports, lazy classes, plugin files, and errors that name the culprit."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness import registry
from harness.errors import ConfigError, PluginError

ROOT = Path(__file__).parents[1]
PLUGIN = '''
from harness.registry import register

@register("models", "{name}")
class Mine:
    """A model of my own.

    More words.
    """
'''


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers or loads is gone after it."""
    monkeypatch.setattr(registry, "_registered", {kind: {} for kind in registry.KINDS})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("harness_plugin_"):
            del sys.modules[name]


@pytest.fixture
def entry_point(monkeypatch):
    """Declare entry points as an installed package would."""

    def declare(kind, name, target):
        declared = {**registry._entry_points(kind), name: target}
        original = registry._entry_points
        monkeypatch.setattr(registry, "_entry_points", lambda k: declared if k == kind else original(k))

    return declare


def plugin(folder, text, name="plugin.py"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_our_own_things_are_found_by_name_in_order():
    names = registry.names("models")
    assert {"markov", "poolformer", "transformer", "unigram"} <= set(names)
    assert names == sorted(names)
    assert registry.get("models", "unigram").__name__ == "Unigram"
    assert registry.origin("models", "unigram") == "baselines.unigram:Unigram"


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_declared_name_imports_and_has_a_line_of_description(kind):
    for name in registry.names(kind):
        cls = registry.get(kind, name)
        assert registry.describe(kind, name) == cls.__doc__.partition("\n")[0]
        assert isinstance(cls.Config, type)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no model is called 'poolfromer'; did you mean 'poolformer'\?"):
        registry.get("models", "poolfromer")
    with pytest.raises(ConfigError, match="no mixer is called 'zzz'; known: attention, "):
        registry.get("mixers", "zzz")


def test_an_unknown_kind_is_answered_with_the_nearest():
    for ask in (registry.names, lambda kind: registry.get(kind, "x"), lambda k: registry.register(k, "x")):
        with pytest.raises(PluginError, match="no registry of 'model'; did you mean 'models'"):
            ask("model")


def test_a_plugin_file_adds_to_the_registry(tmp_path):
    path = plugin(tmp_path, PLUGIN.format(name="mine"))
    registry.load_plugin(path)
    assert "mine" in registry.names("models")
    assert registry.get("models", "mine").__name__ == "Mine"
    assert registry.describe("models", "mine") == "A model of my own."
    assert registry.origin("models", "mine") == f"{path}:Mine"


def test_loading_a_plugin_twice_does_nothing_the_second_time(tmp_path):
    path = plugin(tmp_path, PLUGIN.format(name="mine"))
    registry.load_plugin(path)
    first = registry.get("models", "mine")
    registry.load_plugin(str(path))
    assert registry.get("models", "mine") is first


def test_two_plugins_of_the_same_file_name_do_not_meet(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    registry.load_plugin(plugin(tmp_path / "a", PLUGIN.format(name="one")))
    registry.load_plugin(plugin(tmp_path / "b", PLUGIN.format(name="two")))
    assert {"one", "two"} <= set(registry.names("models"))


def test_the_same_class_may_be_registered_again_and_replaces_itself(tmp_path):
    registry.load_plugin(plugin(tmp_path, PLUGIN.format(name="mine")))
    first = registry.get("models", "mine")
    again = type("Mine", (), {"__module__": first.__module__, "__qualname__": "Mine"})
    assert registry.register("models", "mine")(again) is again
    assert registry.get("models", "mine") is again


def test_a_taken_name_is_refused_and_its_owner_named(tmp_path):
    first = plugin(tmp_path, PLUGIN.format(name="mine"), "first.py")
    second = plugin(tmp_path, PLUGIN.format(name="mine"), "second.py")
    registry.load_plugin(first)
    with pytest.raises(PluginError, match=r"second.py failed.*taken by .*first.py:Mine; choose another"):
        registry.load_plugin(second)
    assert registry.origin("models", "mine") == f"{first}:Mine"


def test_our_names_cannot_be_taken(tmp_path):
    with pytest.raises(PluginError, match=r"taken by baselines\.transformer:Transformer"):
        registry.load_plugin(plugin(tmp_path, PLUGIN.format(name="transformer")))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1\n\n1 / 0\n", "failed at line 4: ZeroDivisionError: division by zero"),
        ("def f():\n    raise KeyError('k')\n\nf()\n", "failed at line 3: KeyError: 'k'"),
        ("a = 1\nb = = 2\n", "failed at line 3: SyntaxError: invalid syntax"),
        ("import no_such_module\n", "failed at line 2: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "failed at line 3: SystemExit: 3"),
    ],
)
def test_a_plugin_that_fails_is_named_with_its_line_and_leaves_nothing(tmp_path, text, complaint):
    first = "from harness.registry import register; register('models', 'half')(type('Half', (), {}))\n"
    path = plugin(tmp_path, first + text)
    with pytest.raises(PluginError) as failure:
        registry.load_plugin(path)
    assert str(failure.value).startswith(f"plugin {path} {complaint}")
    assert "half" not in registry.names("models")
    plugin(tmp_path, PLUGIN.format(name="mended"))
    registry.load_plugin(path)
    assert "mended" in registry.names("models")


def test_the_line_of_another_files_syntax_error_is_not_given_as_the_plugins(tmp_path, monkeypatch):
    plugin(tmp_path, "\n\n\n\nb = = 2\n", "broken_neighbour.py")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"failed at line 1: SyntaxError: .*broken_neighbour.py, line 5"):
        registry.load_plugin(plugin(tmp_path, "import broken_neighbour\n"))


def test_what_is_not_a_python_file_is_refused(tmp_path):
    with pytest.raises(PluginError, match=r"plugin file not found: .*nowhere\.py"):
        registry.load_plugin(tmp_path / "nowhere.py")
    with pytest.raises(PluginError, match="plugin file not found"):
        registry.load_plugin(tmp_path)
    with pytest.raises(PluginError, match="a plugin must be a Python file"):
        registry.load_plugin(plugin(tmp_path, "text", "plugin.txt"))


def test_an_entry_point_to_a_class_that_is_not_there_is_named(entry_point):
    entry_point("models", "misspelt", "baselines.unigram:Unigramm")
    assert (
        registry.describe("models", "misspelt")
        == "(broken: AttributeError: baselines.unigram has no Unigramm)"
    )
    assert registry.preset_names("misspelt") == []


def test_a_package_that_exits_when_it_is_looked_into_is_named(entry_point, tmp_path, monkeypatch):
    package = tmp_path / "package_that_exits"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    entry_point("models", "exits", "package_that_exits.model:Model")
    assert registry.describe("models", "exits") == "(broken: SystemExit: no licence)"


def test_a_broken_entry_point_spoils_only_itself(entry_point):
    entry_point("models", "broken", "no_such_package.module:Model")
    assert {"broken", "unigram"} <= set(registry.names("models"))
    assert registry.describe("models", "broken").startswith("(broken: ")
    assert registry.get("models", "unigram")
    with pytest.raises(PluginError, match=r"'broken' \(no_such_package.module:Model\) does not import"):
        registry.get("models", "broken")


def test_an_entry_point_without_its_class_is_said_to_be_so(entry_point):
    entry_point("models", "missing", "baselines.unigram:Bigram")
    with pytest.raises(PluginError, match=r"does not import: AttributeError: .*Bigram"):
        registry.get("models", "missing")


def test_another_package_called_models_in_the_way_is_pointed_out(tmp_path):
    (tmp_path / "models").mkdir()
    plugin(tmp_path / "models", "", "__init__.py")
    code = "from harness import registry; registry.get('models', 'poolformer')"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; {code}"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert f"another package called 'models' is in the way: {tmp_path}" in done.stderr
