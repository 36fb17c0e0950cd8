"""Checks of a machine or a cluster: what is there, and what to do when it should be otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CheckState = Literal["ok", "warn", "fail", "skip"]
"""``skip``: could not be tried, because of something that another check names."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that Evocodec needs, what was found, and what to do about it.

    ``detail`` may quote an API server, pods or tools: show it, never interpret it. ``parts`` are
    what was looked at, each with its state, where there is more to say than one line.
    """

    name: str
    state: CheckState
    detail: str
    fix: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
