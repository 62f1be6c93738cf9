"""Linear recurrences, alone and with an RG-LRU's gates: two doors, several backends behind them."""

from models.scan.choice import scan_backends
from models.scan.door import backend_for, backends, gated_scan, linear_scan

__all__ = ["backend_for", "backends", "gated_scan", "linear_scan", "scan_backends"]
