"""Which paths jobs may read, worked out from what is really installed here."""

import os
from pathlib import Path

from evocodec.sandbox.allowed_paths import _links_to, allowed_paths
from evocodec.sandbox.policy import DEFAULT_IMPORTS


def test_links_on_the_way_and_links_behind_them_are_found(tmp_path: Path) -> None:
    real = tmp_path / "real" / "library"
    real.mkdir(parents=True)
    (tmp_path / "second").symlink_to("real")
    (tmp_path / "first").symlink_to(tmp_path / "second")
    (tmp_path / "round").symlink_to("round")
    links = _links_to([str(tmp_path / "first" / "library"), str(tmp_path / "round"), "relative"])
    assert links.items() >= {
        (str(tmp_path / "first"), str(tmp_path / "second")),
        (str(tmp_path / "second"), "real"),
    }


def test_nothing_of_the_controllers_own_process_is_readable_even_with_a_gpu() -> None:
    paths = allowed_paths(DEFAULT_IMPORTS, gpu=True)
    processes = [path for path in paths.trees if path.startswith("/proc/")]
    assert not any(part.isdecimal() for path in processes for part in path.split("/"))
    home = os.path.expanduser("~")
    assert home not in paths.trees
    assert "/" not in paths.trees
