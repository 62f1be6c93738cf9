"""The linear recurrence h_t = a_t h_{t-1} + b_t: one door, several backends behind it."""

from models.scan.door import backend_for, linear_scan

__all__ = ["backend_for", "linear_scan"]
