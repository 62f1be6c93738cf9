"""The classifier whose features and probabilities the quality metrics compare.

For a metric (`extractor.py`):
    extractor_for(dataset, spec, device, progress) -> Extractor
        `spec`: "small" (default), "resnext", a mapping of `settings.ClassifierSettings`, or the path of
        published weights. Trained on the data set's labels on first use, then read from the cache.
    load_published(path, device) -> Extractor
    Extractor.embed(waveforms, sample_rate, progress) -> Embedding

For `harness evaluate train-classifier` (`training.py`, `cached.py`):
    cached.open_or_train(dataset, settings, device, progress, again=False) -> cached.Entry
        weights and `about.json` (accuracy, confusion matrix, settings, data) in `Entry.folder`.
    settings.settings_of(spec) -> ClassifierSettings
"""
