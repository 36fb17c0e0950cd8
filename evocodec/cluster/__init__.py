"""Kubernetes preflight and probes."""
