"""Shell completion of run, candidate and version names, from a ledger that is already there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evocodec.domain.errors import EvocodecError

if TYPE_CHECKING:
    from evocodec.app import Laboratory
    from evocodec.views.run import VersionView


def references(incomplete: str) -> list[tuple[str, str]]:
    """Return candidates of the newest run and its versions, with what they are."""
    with _laboratory() as laboratory:
        if laboratory is None:
            return []
        run = laboratory.resolver.view()
        versions = [(v.tag, f"version, {version_help(v)}") for v in run.versions]
        candidates = [(c.candidate_id, c.status.value) for c in run.candidates]
        return [pair for pair in versions + candidates if pair[0].startswith(incomplete)]


def version_help(version: "VersionView") -> str:
    """Return the figures of a version, for a list of completions."""
    rate = f"{version.bitrate_mbps or 0:.2f} Mbit/s"
    unseen = version.held_out_bitrate_mbps
    return rate if unseen is None else f"{rate}, {unseen:.2f} on held-out clips"


def run_ids(incomplete: str) -> list[tuple[str, str]]:
    """Return ids of runs, newest first."""
    with _laboratory() as laboratory:
        runs = laboratory.ledger.runs() if laboratory is not None else ()
        return [(run, "run") for run in runs if run.startswith(incomplete)]


@contextmanager
def _laboratory() -> Iterator["Laboratory | None"]:
    # Options typed so far are not parsed while completing, so the workspace is the default one or
    # the environment's. A broken one must not spill an error into somebody's prompt.
    from evocodec.app import Laboratory
    from evocodec.config import load_settings

    if not Path(os.environ.get("EVOCODEC_WORKSPACE", ".evocodec")).is_dir():
        yield None
        return
    try:
        laboratory = Laboratory.open(load_settings())
        laboratory.resolver.run_id()
    except EvocodecError:
        yield None
        return
    try:
        yield laboratory
    finally:
        laboratory.close()
