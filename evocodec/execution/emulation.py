"""CPU emulation: makes numerical libraries compute as on another processor.

A decoder must give the same frames on every machine. Libraries choose their vector code by
processor at start-up, and that changes the last bits of float results: exp, tanh, filters, matrix
products. These variables make them choose the code of a processor from 2008.
"""

import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_X86 = {
    "OPENBLAS_CORETYPE": "Nehalem",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
}

# What OpenCV calls a set of instructions, and the flag by which Linux says that it is there.
_OPENCV_FEATURES = {
    "AVX": "avx",
    "AVX2": "avx2",
    "FP16": "f16c",
    "FMA3": "fma",
    "AVX512-SKX": "avx512bw",
}


def emulated_processor() -> Mapping[str, str]:
    """Return the environment of an older processor; off x86 only the thread count differs."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    # Only what is there to be switched off: numpy and OpenCV warn about everything else.
    flags = _processor_flags()
    features = [name for name, flag in _OPENCV_FEATURES.items() if flag in flags]
    return _X86 | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(simd.get("found", ())),
        "OPENCV_CPU_DISABLE": ",".join(features),
    }


def _processor_flags() -> frozenset[str]:
    """Return the flags of the first processor; none where Linux does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    return next(
        (frozenset(v.split()) for name, _, v in lines if name.strip() == "flags"), frozenset()
    )
