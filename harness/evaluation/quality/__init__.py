"""How good drawn clips are, judged by a classifier's features and class probabilities.

`embedding.Embedding` is what a classifier says of clips; `scores.score` is every number from two of
them, the drawn clips and the training set; `mel_distance` does without a classifier and so without
labels; `rejection` is the published choice of clips by their likelihood. Each metric has a file of
its own with its definition and source.
"""
