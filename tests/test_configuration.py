"""From plain mappings to checked configurations: strict types, complete components, exact paths."""

import datetime
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import registry
from harness.configuration import build, parse, plain, resolve
from harness.contracts import Component, Spec, require
from harness.errors import ConfigError, HarnessError, did_you_mean, dotted


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5

    def __post_init__(self):
        require(self.rate > 0, "rate", "must be above 0")


@dataclass(frozen=True, kw_only=True)
class Gate:
    size: int = 4


@dataclass(frozen=True, kw_only=True)
class Outer:
    width: int = 8
    scale: float = 1.0
    limit: float | None = None
    mode: Literal["fast", "exact"] = "fast"
    layers: int | tuple[int, ...] = 2
    inner: Inner = Inner()
    mixer: Annotated[Spec, Component("mixers")] = "gate"
    mixers: Annotated[Any, Component("mixers")] = field(default_factory=lambda: ["gate"])
    spare: Annotated[Spec | None, Component("mixers")] = None

    def __post_init__(self):
        require(self.width % 2 == 0, "width", f"must be even, got {self.width}")


@dataclass(frozen=True, kw_only=True)
class Required:
    width: int
    depth: int = 1


class GateMixer:
    Config = Gate

    def __init__(self, config, *, width):
        self.config, self.width = config, width


class OuterModel:
    Config = Outer


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    registered = {kind: {} for kind in registry.KINDS}
    registered |= {"mixers": {"gate": GateMixer}, "models": {"outer": OuterModel}}
    monkeypatch.setattr(registry, "_registered", registered)


def complaint(options, config_class=Outer):
    with pytest.raises(ConfigError) as refusal:
        parse(config_class, options)
    return refusal.value


def test_what_is_not_said_is_the_classs_default():
    config = parse(Outer, {"width": 4, "layers": [1, 2], "inner": {"rate": 2}})
    assert (config.width, config.layers, config.inner, config.mode) == (4, (1, 2), Inner(rate=2.0), "fast")


@pytest.mark.parametrize(
    ("options", "path", "message"),
    [
        ({"width": "8"}, "width", "should be a valid integer, got '8'"),
        ({"width": 8.0}, "width", "should be a valid integer, got 8.0"),
        ({"width": True}, "width", "should be a valid integer, got True"),
        ({"width": None}, "width", "should be a valid integer, got None"),
        ({"scale": "1"}, "scale", "should be a valid number, got '1'"),
        ({"limit": False}, "limit", "should be a valid number, got False"),
        ({"scale": float("nan")}, "scale", "should be a finite number, got nan"),
        ({"layers": [1, float("-inf")]}, "layers[1]", "should be a finite number, got -inf"),
        ({"scale": datetime.date(2020, 1, 1)}, "scale", "should be text, a number, a list or a mapping"),
        ({"mode": "slow"}, "mode", "should be 'fast' or 'exact', got 'slow'"),
        ({"layers": [1, "a"]}, "layers[1]", "should be a valid integer, got 'a'"),
        ({"widht": 8}, "widht", "unknown setting 'widht'; did you mean 'width'?"),
        ({8: 8}, "8", "unknown setting '8'; known: inner, layers, "),
        ({"width": 7}, "width", "must be even, got 7"),
        ({"inner": {"rate": "x"}}, "inner.rate", "should be a valid number"),
        ({"inner": {"rate": 0}}, "inner.rate", "must be above 0"),
        ({"inner": {"rat": 1}}, "inner.rat", "unknown setting 'rat'; did you mean 'rate'?"),
        ({"mixer": "gait"}, "mixer", "no mixer is called 'gait'; did you mean 'gate'?"),
        ({"mixer": {"name": "gait"}}, "mixer.name", "no mixer is called 'gait'"),
        ({"mixer": {"name": "gate", "size": "4"}}, "mixer.size", "should be a valid integer"),
        ({"mixer": {"size": "4"}}, "mixer.size", "should be a valid integer"),
        ({"mixer": 3}, "mixer", "expected a name or a mapping with `name`, got 3"),
        ({"mixers": ["gate", {"name": "gate", "sise": 1}]}, "mixers[1].sise", "did you mean 'size'?"),
        ({"mixers": [["gate", "gait"]]}, "mixers[0][1]", "no mixer is called 'gait'"),
        ({"spare": {"size": 3}}, "spare.name", "a mixer needs a name; known: attention, "),
    ],
)  # fmt: skip
def test_a_refused_value_is_named_with_its_path(options, path, message):
    error = complaint(options)
    assert dotted(error.path) == path
    assert error.message.startswith(message) or error.message.endswith(message)
    assert str(error) == f"{path}: {error.message}"


def test_a_required_setting_is_asked_for():
    error = complaint({"depth": 2}, Required)
    assert (error.path, error.message) == (("width",), "is required")


def test_a_whole_number_will_do_where_a_fraction_may_stand():
    assert parse(Outer, {"scale": 2}).scale == 2.0


def test_components_are_complete_with_all_their_defaults():
    config = parse(Outer, {})
    assert config.mixer == {"name": "gate", "size": 4}
    assert config.mixers == [{"name": "gate", "size": 4}]
    assert config.spare is None
    assert parse(Outer, {"mixer": {"name": "gate", "size": 1}}).mixer == {"name": "gate", "size": 1}
    assert parse(Outer, {"mixers": ["gate", ["gate"]]}).mixers[1] == [{"name": "gate", "size": 4}]


def test_a_component_without_a_name_refines_the_default():
    assert parse(Outer, {"mixer": {"size": 9}}).mixer == {"name": "gate", "size": 9}


def test_parsing_does_not_change_what_it_was_given():
    options = {"mixer": {"name": "gate"}, "layers": [1, 2]}
    parse(Outer, options)
    assert options == {"mixer": {"name": "gate"}, "layers": [1, 2]}


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "width": st.integers(-50, 50).map(lambda n: 2 * n),
            "scale": st.floats(allow_nan=False, allow_infinity=False),
            "limit": st.none() | st.floats(0, 1),
            "layers": st.integers() | st.lists(st.integers(), max_size=4),
            "mixer": st.just("gate")
            | st.fixed_dictionaries({"name": st.just("gate"), "size": st.integers()}),
        },
    )
)
def test_the_plain_form_is_complete_json_and_parses_to_itself(options):
    config = parse(Outer, options)
    said = plain(config)
    assert set(said) == set(Outer.__dataclass_fields__)
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert plain(parse(Outer, said)) == said


def test_a_resolved_thing_says_its_name_and_every_field():
    found = resolve("models", {"name": "outer", "width": 2})
    assert (found.name, found.cls, found.config.width) == ("outer", OuterModel, 2)
    assert resolve("models", found.plain()) == found
    assert resolve("mixers", "gate").plain() == {"name": "gate", "size": 4}


@pytest.mark.parametrize("spec", [3, None, ["gate"]])
def test_a_spec_is_a_name_or_a_mapping(spec):
    with pytest.raises(ConfigError, match="expected a name or a mapping with `name`"):
        resolve("mixers", spec)


@pytest.mark.parametrize("spec", [{}, {"nam": "gate"}, {"name": 3}])
def test_a_mapping_without_a_name_is_told_the_known_ones(spec):
    with pytest.raises(ConfigError, match=r"name: a mixer needs a name; known: .*gate"):
        resolve("mixers", spec)


def test_build_constructs_with_the_context():
    mixer = build("mixers", {"name": "gate", "size": 2}, width=16)
    assert (mixer.config.size, mixer.width) == (2, 16)


def test_errors_are_the_users_and_their_paths_grow_outwards():
    error = ConfigError("rate", "must be above 0").under("model", "layers", 2)
    assert isinstance(error, HarnessError | ValueError)
    assert error.exit_code == 2
    assert str(error) == "model.layers[2].rate: must be above 0"
    assert str(ConfigError((), "expected a mapping")) == "expected a mapping"


def test_the_nearest_name_is_suggested_or_all_are_listed():
    assert did_you_mean("widht", ["width", "depth"]) == "did you mean 'width'?"
    assert did_you_mean("zzz", ["width", "depth"]) == "known: depth, width"
    assert did_you_mean("zzz", []) == "none is known"
