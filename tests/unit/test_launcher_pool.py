"""Which fork servers a worker keeps: what they import, emulate and see."""

import pytest

from evocodec.execution import launchers
from evocodec.execution.launchers import LauncherPool, preload_for
from evocodec.sandbox.policy import available_imports
from tests.support.default_options import default_policy

POLICY = default_policy()


def test_only_programs_that_mention_a_heavy_library_preload_it() -> None:
    if "numba" not in available_imports(POLICY):
        pytest.skip("numba is not installed")
    assert "numba" in preload_for("from numba import njit", POLICY)
    assert "numba" not in preload_for("import numpy", POLICY)
    assert "numba" not in preload_for("number = 1; numbaish = 2", POLICY)


def test_a_library_that_is_not_allowed_is_not_preloaded() -> None:
    narrow = default_policy(allowed_imports=frozenset({"numpy"}))
    assert "numba" not in preload_for("import numba", narrow)


def test_launchers_are_reused_and_told_apart_by_what_jobs_would_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = LauncherPool()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    plain = pool.get("import numpy", POLICY)
    assert pool.get("import cv2", POLICY) is plain
    emulated = pool.get("import numpy", POLICY, emulated=True)
    assert emulated is not plain
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert pool.get("import numpy", POLICY) is not plain
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert pool.get("import numpy", POLICY) is plain
    pool.close()
    assert pool.get("import numpy", POLICY) is not plain


def test_the_least_recently_used_server_ends_for_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = LauncherPool()
    kept = []
    for gpu in range(launchers._MAX_SERVERS):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", str(gpu))
        kept.append(pool.get("", POLICY))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert pool.get("", POLICY) is kept[0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "99")
    pool.get("", POLICY)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert pool.get("", POLICY) is kept[0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert pool.get("", POLICY) is not kept[1]
