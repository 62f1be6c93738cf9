"""Memory horizon: how far back each level of a model remembers, and what its memory is worth."""
