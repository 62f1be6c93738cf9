"""From a suite file to trials: layers, names, identity; and what a user's mistakes are told.

The suites here use a model and a data set registered by a plugin file, so that this specification
stands on the registry alone.
"""

import json

import pytest

from harness.errors import HarnessError
from harness.suite.suite import load_suite

PLUGIN = '''
from dataclasses import dataclass
from typing import Annotated
from harness.contracts import Component, Spec, require
from harness.registry import register


def config(**fields):
    return dataclass(frozen=True, kw_only=True)


@register("mixers", "toy_mixer")
class Mixer:
    """Mixes."""
    @dataclass(frozen=True, kw_only=True)
    class Config:
        hidden: int = 4
        def __post_init__(self):
            require(self.hidden > 0, "hidden", "must be positive")


@register("models", "toy")
class Toy:
    """A toy."""
    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 8
        pooling: tuple[int, ...] = (2,)
        rate: float = 0.5
        mixer: Annotated[Spec | tuple[Spec, ...], Component("mixers")] = "toy_mixer"
        def __post_init__(self):
            for factor in self.pooling:
                require(factor >= 1, "pooling", f"a factor must be at least 1, got {factor}")
        def check_data(self, vocab_size, length):
            require(max(self.pooling, default=1) <= length, "pooling", f"longer than the clip of {length}")


@register("models", "other")
class Other:
    """Another toy."""
    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 5


class Data:
    length = 100
    vocab_size = 256
    sample_rate = 8000


@register("datasets", "one")
class One:
    """Data."""
    @dataclass(frozen=True, kw_only=True)
    class Config(Data):
        rate: int = 8000
        speakers: int = 3


@register("datasets", "two")
class Two:
    """More data."""
    @dataclass(frozen=True, kw_only=True)
    class Config(Data):
        rate: int = 16000


@register("metrics", "toy_metric")
class Metric:
    """Measures."""
    lane = "training"
    columns = {}
    @dataclass(frozen=True, kw_only=True)
    class Config:
        clips: int = 10
'''

HEAD = """name: demo
plugins: [./toy_plugin.py]
measure: [toy_metric]
figures: []
base:
  model: {name: toy, width: 8}
  data: {name: one, rate: 4000, speakers: 7}
  train: {steps: 10}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suites")
    (folder / "toy_plugin.py").write_text(PLUGIN)
    return folder


@pytest.fixture
def load(home):
    def load(text, **options):
        file = home / "demo.yaml"
        file.write_text(HEAD + text)
        return load_suite(file, **options)

    return load


@pytest.fixture
def refused(load):
    def refused(text, *words, **options):
        with pytest.raises(HarnessError) as caught:
            load(text, **options)
        message = str(caught.value)
        for word in words:
            assert word in message, message

    return refused


def names(suite):
    return [variant.name for variant in suite.variants]


def config(suite, name):
    return next(v.config for v in suite.variants if name in (v.name, *v.aliases))


def test_a_suite_expands_in_the_order_of_the_file(load):
    suite = load(
        "vary: {model.width: [4, 16], model.pooling: [[], [4, 5]]}\nvariants: {mine: {model: other}}\n"
    )
    assert names(suite) == ["base", "width=4", "width=16", "pooling=[]", "pooling=[4,5]", "mine"]
    assert [(t.variant, t.seed) for t in suite.trials[:4]] == [
        ("base", 0),
        ("base", 1),
        ("base", 2),
        ("width=4", 0),
    ]


def test_every_default_is_resolved_even_inside_components(load):
    resolved = config(load(""), "base")
    assert resolved["model"]["mixer"] == {"name": "toy_mixer", "hidden": 4}
    assert resolved["train"]["batch_size"] == 32
    assert resolved["measure"] == [{"name": "toy_metric", "clips": 10}]


def test_equal_configurations_are_one_variant_with_aliases(load):
    suite = load("vary: {model.width: [8, 16]}\n")
    assert names(suite) == ["base", "width=16"]
    assert suite.variants[0].aliases == ("width=8",)


def test_a_grid_is_the_full_product(load):
    suite = load("grid: {model.width: [1, 2], train.steps: [3, 4]}\n")
    assert names(suite)[1:] == ["width=1,steps=3", "width=1,steps=4", "width=2,steps=3", "width=2,steps=4"]


def test_a_setting_inside_a_component_can_vary(load):
    suite = load("vary: {model.mixer.hidden: [2]}\n")
    assert config(suite, "hidden=2")["model"]["mixer"] == {"name": "toy_mixer", "hidden": 2}


def test_another_model_starts_from_its_own_defaults(load):
    assert config(load("variants: {o: {model: {name: other}}}\n"), "o")["model"] == {
        "name": "other",
        "width": 5,
    }


def test_another_data_set_keeps_the_settings_it_shares(load):
    suite = load("", overrides=["data.name=two"])
    assert config(suite, "base")["data"] == {"name": "two", "rate": 4000}


def test_variants_extend_one_another(load):
    suite = load("variants: {b: {extends: a, train: {steps: 5}}, a: {model: {width: 3}}}\n")
    assert config(suite, "b")["model"]["width"] == 3
    assert config(suite, "b")["train"]["steps"] == 5


def test_command_line_beats_profile_beats_variant_beats_base(load):
    text = "vary: {train.steps: [20]}\nprofiles: {quick: {train: {steps: 30}}}\n"
    steps = {
        "plain": config(load(text), "steps=20")["train"]["steps"],
        "profile": load(text, profile="quick").variants[0].config["train"]["steps"],
        "set": load(text, profile="quick", overrides=["train.steps=40"]).variants[0].config["train"]["steps"],
    }
    assert steps == {"plain": 20, "profile": 30, "set": 40}


def test_a_profile_may_change_the_suite_itself(load):
    text = """vary: {model.width: [16]}
profiles:
  quick: {seeds: [5], base: {model: {pooling: [4]}}, vary: {model.width: [32]}, variants: {m: {model: other}}}
"""
    suite = load(text, profile="quick")
    assert names(suite) == ["base", "width=32", "m"]
    assert suite.config.seed_list == (5,)
    assert config(suite, "base")["model"]["pooling"] == [4]


def test_a_model_setting_laid_over_all_touches_the_models_that_have_it(load):
    suite = load("variants: {o: {model: other}}\n", overrides=["model.pooling=[3]"])
    assert config(suite, "base")["model"]["pooling"] == [3]
    assert "pooling" not in config(suite, "o")["model"]


def test_without_a_gpu_the_laptop_profile_is_the_default(load, monkeypatch):
    monkeypatch.setattr("harness.suite.suite._gpu_at_hand", lambda: False)
    text = "profiles: {laptop: {train: {steps: 1}}, gpu: {train: {steps: 2}}}\n"
    assert load(text).profile == "laptop"
    monkeypatch.setattr("harness.suite.suite._gpu_at_hand", lambda: True)
    assert load(text).profile == "gpu"


def test_a_key_depends_on_the_configuration_and_the_seed_only(load):
    first = load("vary: {model.width: [4, 16]}\nvariants: {mine: {model: other}}\n")
    second = load(
        "question: Why?\nvariants: {yours: {model: {name: other}}}\n"
        "vary: {model.width: [16, 4, 2]}\nseeds: [1, 0, 2, 9]\n"
    )
    keys = {(json.dumps(t.config, sort_keys=True), t.seed): t.key for t in second.trials}
    for trial in first.trials:
        assert keys[json.dumps(trial.config, sort_keys=True), trial.seed] == trial.key
    assert len({t.key for t in second.trials}) == len(second.trials)


def test_the_order_of_keys_never_changes_a_key(load):
    one = load("variants: {v: {model: {width: 3, pooling: [4]}}}\n").trials[-1]
    two = load("variants: {v: {model: {pooling: [4], width: 3}}}\n").trials[-1]
    assert one.key == two.key


def test_a_changed_plugin_changes_the_key(home, load):
    before = load("").trials[0].key
    plugin = home / "toy_plugin.py"
    plugin.write_text(PLUGIN + "\n# changed\n")
    try:
        assert load("").trials[0].key != before
    finally:
        plugin.write_text(PLUGIN)


def test_folder_names_are_safe(load):
    suite = load('variants: {"<script>../ x": {model: {width: 3}}}\n')
    name = suite.trials[-1].folder_name
    assert "/" not in name and "<" not in name and ".." not in name.replace("..", "", 0)[:2]
    assert name.endswith(suite.trials[-1].short_key)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vary: {model.widht: [1]}\n", ["demo.yaml:9:", "unknown setting 'widht'", "did you mean 'width'?"]),
        ("verry: {}\n", ["demo.yaml:9:1", "unknown setting 'verry'", "'vary'"]),
        ("vary: {model.width: [wide]}\n", ["demo.yaml:9:22", "model.width", "integer", "'wide'"]),
        ("vary: {model.pooling: [[4, 0]]}\n", ["demo.yaml:9:24", "at least 1, got 0"]),
        ("vary: {model.pooling: [[-2]]}\n", ["at least 1, got -2"]),
        ("vary: {model.pooling: [[200]]}\n", ["demo.yaml:9:24", "longer than the clip of 100"]),
        ("vary: {model.rate: [fast]}\n", ["demo.yaml:9:", "number"]),
        ("vary: {train.learning_rate: [-1.0]}\n", ["demo.yaml:9:", "above 0"]),
        ("vary: {model.mixer: [toy_mixerr]}\n", ["demo.yaml:9:", "no mixer is called", "'toy_mixer'"]),
        (
            "vary: {model.mixer: [{name: toy_mixer, hidden: 0}]}\n",
            ["demo.yaml:9:", "model.mixer.hidden", "positive"],
        ),
        (
            "vary: {model.name: [toyy]}\n",
            ["demo.yaml:9:", "no model is called 'toyy'", "did you mean 'toy'?"],
        ),
        ("vary: {}\n", ["demo.yaml:9:1", "vary", "is empty"]),
        ("vary: {model.width: []}\n", ["has no values"]),
        ("vary: {width: [1]}\n", ["demo.yaml:9:8", "names no setting"]),
        ("vary: [1]\n", ["demo.yaml:9:1", "vary"]),
        ("variants: {a: {extends: b}, b: {extends: a}}\n", ["circle", "a -> b -> a"]),
        ("variants: {a: {extends: {b: 1}}, b: {}}\n", ["a.extends", "must be the name of a variant"]),
        ("variants: {a: {extends: bb}, b: {}}\n", ["no variant is called 'bb'", "did you mean 'b'?"]),
        (
            "variants:\n  a: {model: {width: 1}}\n  a: {model: {width: 2}}\n",
            ["demo.yaml:11:3", "given twice"],
        ),
        ("variants: {base: {model: {width: 1}}}\n", ["is taken"]),
        ("variants: {a: {modle: {width: 1}}}\n", ["demo.yaml:9:16", "unknown section 'modle'"]),
        ("variants: {a: 3}\n", ["demo.yaml:9:12", "variants.a"]),
        ("variants: {a: {data: {name: none}}}\n", ["no dataset is called 'none'"]),
        ("seeds: 0\n", ["at least one seed"]),
        ("seeds: [1, 1]\n", ["twice"]),
        ("seeds: [-1]\n", ["negative"]),
        ("profiles: {p: {train: {stepps: 1}}}\n", ["demo.yaml:9:24", "'stepps'", "'steps'"]),
        ("profiles: {p: {nonsense: 1}}\n", ["demo.yaml:9:16", "unknown in a profile"]),
        (
            "profiles: {p: {model: {depth: 1}}}\n",
            ["demo.yaml:9:24", "no model of this suite has a setting 'depth'"],
        ),
        ("profiles: {p: {vary: {model.width: [x]}}}\n", ["demo.yaml:9:37", "integer"]),
        ("profiles: {p: {base: {model: {width: x}}}}\n", ["demo.yaml:9:31", "integer"]),
        ("profiles: {p: 3}\n", ["demo.yaml:9:12", "a profile is a mapping"]),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_cure(refused, text, words):
    refused(text, *words, profile="p" if "profiles" in text else None)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.name=thre", ["--set data.name=thre", "no dataset is called 'thre'"]),
        ("train.steps=many", ["--set train.steps=many", "integer"]),
        ("train.steps", ["expected `section.setting=value`"]),
        ("model.depth=3", ["no model of this suite has a setting 'depth'"]),
        ("trian.steps=3", ["did you mean 'train'?"]),
        ("train.crop=101", ["longer than a clip"]),
        ("train.steps=[", ["not a YAML value"]),
        ("base.model.width=x", ["--set base.model.width=x", "integer"]),
        ("seeds=x", ["--set seeds=x"]),
    ],
)
def test_a_mistake_on_the_command_line_names_the_option(refused, override, words):
    refused("", *words, overrides=[override])


def test_an_unknown_profile_is_told_the_known_ones(refused):
    refused("profiles: {quick: {}}\n", "no profile 'quik'", "did you mean 'quick'?", profile="quik")


def test_a_plugin_that_raises_is_named_with_its_line(home):
    (home / "bad_plugin.py").write_text("x = 1\nraise RuntimeError('no such luck')\n")
    file = home / "bad.yaml"
    file.write_text("name: bad\nplugins: [bad_plugin.py]\n")
    with pytest.raises(HarnessError) as caught:
        load_suite(file)
    for word in ("bad.yaml:2:11", "bad_plugin.py", "line 2", "no such luck"):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "<b>"])
def test_a_suite_name_that_is_no_folder_name_is_refused(home, name):
    file = home / "named.yaml"
    file.write_text(f"name: {json.dumps(name)}\nbase: {{}}\n")
    with pytest.raises(HarnessError, match=r"named.yaml:1:1.*name"):
        load_suite(file)
