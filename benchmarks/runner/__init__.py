"""What the benchmarks of the runner itself (overhead, chaos) run: trials that cost next to nothing."""
