"""A start of Ray that fails: repeated once, and named for what it is.

Ray raises ``Exception`` itself when its node takes too long, which no test can bring about at will.
"""

from typing import Any

import pytest
import ray

from evocodec.app.engine import engine_options
from evocodec.config import load_settings
from evocodec.domain.errors import InfrastructureFailure
from evocodec.execution.workers.ray_connection import open_session


@pytest.mark.parametrize(("address", "starts"), [("", 2), ("127.0.0.1:1", 1)])
def test_a_start_that_takes_too_long_is_repeated_once_and_is_ours_to_explain(
    address: str, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def start(**arguments: Any) -> None:
        asked.append(arguments)
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", start)
    options = engine_options(load_settings(flags={"ray.address": address}))
    with pytest.raises(InfrastructureFailure, match="timed out during startup"):
        open_session(options)
    assert len(asked) == starts
