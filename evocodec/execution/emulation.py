"""Another processor, as far as the numerical libraries are concerned.

A decoder must give the same frames on every machine. Libraries choose their vector code by
processor at start-up, and that changes the last bits of float results: exp, tanh, filters, matrix
products. These variables make them choose the code of a processor from 2008.
"""

import platform
from collections.abc import Mapping

import numpy as np

_X86 = {
    "OPENBLAS_CORETYPE": "Nehalem",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "OPENCV_CPU_DISABLE": "AVX,AVX2,FP16,FMA3,AVX512-SKX",
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
}


def emulated_processor() -> Mapping[str, str]:
    """Return the environment of an older processor; off x86 only the thread count differs."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    # Only names that this numpy dispatches on: it warns about all others.
    return _X86 | {"NPY_DISABLE_CPU_FEATURES": " ".join(simd.get("found", ()))}
