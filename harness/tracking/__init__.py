"""Logs of trials in people's own tools: TensorBoard, Weights & Biases, MLflow, or a plugin's.

They repeat what the records and learning curves say and nothing depends on them: no tracker can change a
trial, its status or its key, nor hold a run up for long.
"""
