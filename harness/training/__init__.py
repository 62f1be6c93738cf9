"""The training loop, its optimiser, schedule, averaging and checkpoints."""
