"""From YAML to an ordered list of trials: reading, checking, expanding, identity."""
