"""Kubernetes quantities, such as ``500m`` and ``32Gi``, as numbers."""

import re
from typing import Final

_UNITS: Final = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
}
_QUANTITY: Final = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]{0,2})")


def quantity(text: object) -> float:
    """Return the number, in processors, bytes or pieces; zero for what is no quantity."""
    found = _QUANTITY.fullmatch(str(text).strip())
    if found is None or found[2] not in _UNITS:
        return 0.0
    try:
        return float(found[1]) * _UNITS[found[2]]
    except ValueError:
        return 0.0
