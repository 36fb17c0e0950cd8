"""Kernels of the metrics: the operations, their versions on the CPU and on CUDA, and the choice."""
