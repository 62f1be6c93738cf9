"""Drawing from Poolformer faster than step by step, from the same distribution."""
