"""A start of Ray that fails: repeated once, and named for what it is.

Ray raises ``Exception`` itself when its node takes too long, which no test can bring about at will.
"""

from typing import Any

import pytest
import ray
import ray._private.utils as ray_utils

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


def test_ray_is_not_told_the_command_line_which_may_hold_bytes_that_are_no_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray's head refuses what is no UTF-8, such as the name of a clip, and shows the rest."""
    told: list[str] = []

    def start(**_arguments: Any) -> None:
        told.append(ray_utils.get_entrypoint_name())
        raise Exception("far enough")

    monkeypatch.setattr(ray, "init", start)
    options = engine_options(load_settings(flags={"ray.address": "127.0.0.1:1"}))
    with pytest.raises(InfrastructureFailure, match="far enough"):
        open_session(options)
    assert told == ["evocodec"]
