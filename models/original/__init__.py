"""Weights and settings of the authors' Poolformer code, brought into ours and back."""

from models.original.settings import config_from_original
from models.original.weights import load_original, to_original

__all__ = ["config_from_original", "load_original", "to_original"]
