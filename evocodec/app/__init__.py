"""Application: wires all parts together, and holds the use cases that commands call."""

from evocodec.app.laboratory import Laboratory

__all__ = ["Laboratory"]
