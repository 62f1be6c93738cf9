"""The tuning stage: the same search for every variant, before the final stage, judged by validation."""
