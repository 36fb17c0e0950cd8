"""Benchmarks: figures that are measured and not tested (``make bench``)."""
