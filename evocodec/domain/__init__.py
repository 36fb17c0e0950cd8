"""Frozen types, units and errors that every part shares; no third-party I/O."""
