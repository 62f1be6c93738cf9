"""Where trackers say what went wrong: to the person who runs, not into a trial's log."""

import logging

log = logging.getLogger("harness-tracking")
"""Not below `harness`, whose messages a serial run writes into the log of the trial at hand."""
