"""Attacks that the sandbox must hold against, run for real and judged from outside."""
