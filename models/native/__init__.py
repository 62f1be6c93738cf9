"""C++ kernels for a CPU, built on first use, and how they are called."""
