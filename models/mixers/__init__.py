"""Temporal mixers: layers that exchange information along time, interchangeable at any level."""
