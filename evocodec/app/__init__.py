"""The composition root: the only place that wires parts together."""

from evocodec.app.laboratory import Laboratory

__all__ = ["Laboratory"]
