"""Speed and memory against peers: one command each, run from the checkout (see README.md here)."""
