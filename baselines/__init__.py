"""Models to compare with: one file a model, reads like its paper."""
