"""The key of a trial: one spelling, however many seeds it is worked out for at a time."""

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from harness.suite.trial import PROTOCOL_VERSION, Trial

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.integers(0, 2**63))
def test_a_key_is_the_hash_of_configuration_seed_and_protocol_as_sorted_json(config, seed):
    identity = {"protocol": PROTOCOL_VERSION, "seed": seed, "config": config}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    assert Trial("any", seed, config).key == hashlib.sha256(text.encode()).hexdigest()


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.sets(st.integers(0, 999), min_size=1, max_size=5))
def test_trials_of_several_seeds_are_those_of_each(config, seeds):
    together = Trial("any", 7, config, ("a.py",), ("text",)).seeds(seeds)
    alone = [Trial("any", seed, config, ("a.py",), ("text",)) for seed in seeds]
    assert together == alone
    assert [trial.key for trial in together] == [trial.key for trial in alone]
    assert [trial.plugin_texts for trial in together] == [trial.plugin_texts for trial in alone]
