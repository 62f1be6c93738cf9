"""A preset stands for the settings that it holds, in the layer that says it."""

import pytest

from harness import configuration, registry
from harness.errors import ConfigError, HarnessError
from harness.suite.suite import load_suite
from harness.training.config import TrainConfig

PLUGIN = '''
from dataclasses import dataclass
from harness.contracts import Preset
from harness.registry import register


@register("models", "published")
class Published:
    """Has presets."""
    presets = {
        "paper": Preset(
            config={"width": 48, "layers": (3, 2)}, source="Table 1", parameters=7,
            train={"learning_rate": 0.004, "schedule": "cosine"},
        ),
        "large": Preset(config={"width": 512}, source="Table 2"),
    }
    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 8
        layers: tuple[int, ...] = (1,)
        dropout: float = 0.0


@register("models", "unpublished")
class Unpublished:
    """Has none."""
    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 5


@register("datasets", "nothing")
class Nothing:
    """No data."""
    @dataclass(frozen=True, kw_only=True)
    class Config:
        length = 100
        vocab_size = 256
        sample_rate = 8000
'''


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    (folder / "presets_plugin.py").write_text(PLUGIN)
    return folder


@pytest.fixture
def load(home):
    def load(text, base="{model: {name: published, dropout: 0.1}, data: nothing}", **options):
        head = f"name: demo\nplugins: [presets_plugin.py]\nmeasure: []\nfigures: []\nbase: {base}\n"
        (home / "demo.yaml").write_text(head + text)
        return load_suite(home / "demo.yaml", **options)

    return load


def model(suite, name="base"):
    return next(v.config["model"] for v in suite.variants if name in (v.name, *v.aliases))


PAPER = {"name": "published", "width": 48, "layers": [3, 2], "dropout": 0.0}


def test_a_preset_is_the_published_configuration_whatever_lower_layers_say(load):
    suite = load("variants: {p: {model: {preset: paper}}, q: {model: {name: published, preset: paper}}}\n")
    assert model(suite, "p") == model(suite, "q") == PAPER


def test_fields_beside_a_preset_win_over_it_in_any_order(load):
    suite = load("variants: {p: {model: {width: 9, preset: paper, name: published}}}\n")
    assert model(suite, "p") == {**PAPER, "width": 9}


def test_higher_layers_win_over_a_preset(load):
    text = "variants: {p: {model: {preset: paper}}}\nprofiles: {small: {model: {width: 4}}}\n"
    assert model(load(text, profile="small"), "p")["width"] == 4
    assert model(load(text, overrides=["model.layers=[9]"]), "p")["layers"] == [9]


def test_a_preset_and_the_same_configuration_by_hand_have_one_key(load):
    by_hand = "{model: {name: published, width: 48, layers: [3, 2]}, data: nothing}"
    preset = load("", base="{model: {name: published, preset: paper}, data: nothing}")
    assert preset.trials[0].key == load("", base=by_hand).trials[0].key


def test_presets_can_vary(load):
    suite = load("vary: {model.preset: [paper, large]}\n")
    assert [(v.name, v.config["model"]["width"]) for v in suite.variants] == [
        ("base", 8), ("preset=paper", 48), ("preset=large", 512),
    ]  # fmt: skip


def test_a_preset_of_a_profile_or_the_command_line_is_laid_over_the_models_that_have_it(load):
    text = "variants: {u: {model: unpublished}}\nprofiles: {paper: {model: {width: 6, preset: paper}}}\n"
    from_profile = load(text, profile="paper")
    assert (model(from_profile), model(from_profile, "u")["width"]) == ({**PAPER, "width": 6}, 6)
    suite = load(text, profile="default", overrides=["model.width=7", "model.preset=large"])
    assert (model(suite)["width"], model(suite, "u")["width"]) == (7, 7)


def test_published_training_is_taken_when_asked_for_and_never_along_with_the_model(load):
    text = "variants: {p: {model: {preset: paper}}, q: {train: {preset: published/paper, warmup_steps: 3}}}\n"
    train = {v.name: v.config["train"] for v in load(text).variants}
    assert train["p"] == train["base"]
    changed = {key for key in train["q"] if train["q"][key] != train["base"][key]}
    assert changed == {"learning_rate", "schedule", "warmup_steps"}


def test_a_value_is_said_to_come_from_the_preset_and_its_place(load):
    suite = load("variants: {p: {model: {preset: paper, dropout: 0.3}}}\n")
    settings = suite.variants[1].settings
    origin, _ = settings.origin(("model", "width"))
    assert origin.layer == "preset paper"
    assert suite.document.where(origin.document_path).endswith("demo.yaml:6:24")
    assert settings.origin(("model", "dropout"))[0].layer == "variant p"
    assert settings.origin(("model", "name"))[0].layer == "base"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("variants: {p: {model: {preset: papre}}}\n", ["demo.yaml:6:24", "did you mean 'paper'?"]),
        ("variants: {p: {model: {name: unpublished, preset: paper}}}\n", ["preset 'paper'; none is known"]),
        ("variants: {p: {model: {preset: [1]}}}\n", ["demo.yaml:6:24", "no preset [1]"]),
        ("variants: {p: {train: {preset: paper}}}\n", ["demo.yaml:6:24", "expected `model/preset`"]),
        ("variants: {p: {train: {preset: publishd/paper}}}\n", ["demo.yaml:6:24", "'published'"]),
        ("vary: {model.preset: [papre]}\n", ["demo.yaml:6:23", "did you mean 'paper'?"]),
        ("profiles: {x: {model: {preset: papre}}}\n", ["demo.yaml:6:24", "no model of this suite has"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_its_cure(load, text, words):
    with pytest.raises(HarnessError) as caught:
        load(text, profile="x" if "profiles" in text else None)
    for word in words:
        assert word in str(caught.value)


def test_a_preset_works_from_python(load):
    load("")
    assert configuration.resolve("models", {"name": "published", "preset": "paper", "width": 3}).plain() == {
        **PAPER, "width": 3,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"preset: .*did you mean 'large'"):
        configuration.resolve("models", {"name": "published", "preset": "lareg"})


@pytest.mark.parametrize("name", registry.names("models"))
def test_every_shipped_preset_can_be_used_and_says_its_source(name):
    for preset, found in getattr(registry.get("models", name), "presets", {}).items():
        configuration.resolve("models", {"name": name, "preset": preset})
        configuration.parse(TrainConfig, found.train)
        assert found.source
