"""Sandbox policy: what a candidate may import, use and consume."""

import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import Literal

from evocodec.domain.vocabulary import Layer

MEBIBYTE = 1 << 20
PATIENCE = 8.0

Floor = tuple[frozenset[Layer], ...]
"""Layers without which nothing runs: of each set, at least one must be in force."""

DEFAULT_FLOOR: Floor = (
    frozenset({Layer.NO_NEW_PRIVS}),
    frozenset({Layer.RLIMITS}),
    frozenset({Layer.SECCOMP, Layer.NET_NAMESPACE}),
)
UNSAFE_FLOOR: Floor = ()
NAMESPACES = (
    *(Layer.USER_NAMESPACE, Layer.PID_NAMESPACE, Layer.NET_NAMESPACE),
    *(Layer.MOUNT_NAMESPACE, Layer.PIVOT_ROOT),
)

Mode = Literal["auto", "namespaces", "pod"]
Provider = Literal["forkserver", "bubblewrap"]

LIBRARY_IMPORTS = frozenset(
    {"numpy", "cv2", "torch", "torchvision", "scipy", "numba", "constriction"}
)
# General-purpose compressors are building blocks, like constriction; picture codecs are not.
STANDARD_IMPORTS = frozenset(
    {
        "__future__",
        "abc",
        "array",
        "bisect",
        "bz2",
        "cmath",
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "enum",
        "fractions",
        "functools",
        "heapq",
        "io",
        "itertools",
        "lzma",
        "math",
        "numbers",
        "operator",
        "random",
        "statistics",
        "string",
        "struct",
        "typing",
        "zlib",
    }
)
CONTRACT_IMPORTS = frozenset({"evocodec.codec.contract"})
DEFAULT_IMPORTS = LIBRARY_IMPORTS | STANDARD_IMPORTS | CONTRACT_IMPORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one encode or decode; ``processes`` counts threads.

    ``memory_bytes`` is on top of what the fork server has loaded. ``output_bytes`` limits the
    packets of an encode; the output of a decode is limited by the size of the stream. There is no
    scratch folder if ``scratch_bytes`` or ``scratch_inodes`` is 0. ``wall_seconds`` counts the
    processor time that the program had, and the time in which it chose to wait.
    """

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int
    output_bytes: int
    processes: int
    scratch_bytes: int
    scratch_inodes: int
    stderr_bytes: int = 64 * 1024

    @property
    def patience_seconds(self) -> float:
        """Time by the clock after which a job that the machine hardly ran is tried again."""
        return PATIENCE * self.wall_seconds


PROBE_LIMITS = Limits(
    wall_seconds=60.0,
    cpu_seconds=60.0,
    memory_bytes=512 * MEBIBYTE,
    output_bytes=MEBIBYTE,
    processes=16,
    scratch_bytes=16 * MEBIBYTE,
    scratch_inodes=256,
)
"""For the empty job by which a launcher finds out which layers there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Sandbox settings for every candidate of a run.

    ``allow_library_codecs`` lets programs call existing codecs; reports must then say so.
    ``devices`` are device files that jobs may open and control, such as a GPU's; with any of them,
    memory is limited by RLIMIT_DATA and by watching instead of by address space.

    ``mode``: "auto" enters every layer that the machine offers; "namespaces" refuses to run without
    namespaces; "pod" leaves out namespaces and cgroups, which most containers do not allow.
    ``provider`` is what surrounds the fork server: nothing, or bubblewrap. ``paths_open`` leaves
    the path lock out, so that the layers below it can be attacked; no setting sets it.

    ``max_literal_bytes`` is what one literal may hold, compressed (``review/literal_size.py``).
    """

    allow_library_codecs: bool
    max_program_bytes: int
    max_literal_bytes: int
    floor: Floor
    mode: Mode
    provider: Provider
    devices: tuple[str, ...] = ()
    allowed_imports: frozenset[str] = DEFAULT_IMPORTS
    paths_open: bool = False

    @property
    def required(self) -> Floor:
        """The layers that must be on: the floor, and every namespace in "namespaces" mode."""
        if self.mode != "namespaces":
            return self.floor
        return (*self.floor, *(frozenset({layer}) for layer in NAMESPACES))


def available_imports(policy: Policy) -> frozenset[str]:
    """Return the allowed imports that are installed here; torch, for example, is optional."""
    return frozenset(name for name in policy.allowed_imports if _is_installed(name))


@cache
def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
