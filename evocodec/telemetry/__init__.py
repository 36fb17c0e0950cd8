"""Structured log, Prometheus, progress events."""
