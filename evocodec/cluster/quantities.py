"""Kubernetes quantities, such as ``500m`` and ``32Gi``, as numbers."""

import importlib
import math


def quantity(text: object) -> float:
    """Return the number, in processors, bytes or pieces; zero for what is no quantity."""
    utils = importlib.import_module("kubernetes.utils")  # an extra: only where a cluster is asked
    try:
        found = float(utils.parse_quantity(str(text).strip()))
    except ValueError:
        return 0.0
    return found if math.isfinite(found) else 0.0
