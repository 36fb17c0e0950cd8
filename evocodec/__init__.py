"""An autonomous laboratory for video compression."""

__version__ = "0.2.0"
