"""Poolformer and its parts: embedding, pooling, residual and skip blocks, mixers, scans."""
