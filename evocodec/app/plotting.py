"""The RD plot of a run: HEVC and every adopted version, a panel for each clip."""

from pathlib import Path

from evocodec.domain.errors import UserError
from evocodec.domain.results import RdCurve
from evocodec.evaluation.rdplot import plot_rd
from evocodec.store.views import RunView


def plot_run(view: RunView, folder: Path) -> tuple[Path, Path]:
    """Draw the versions of a run, or its best candidate while it has none.

    Raises:
        UserError: nothing was fully evaluated yet.
    """
    curves: dict[str, dict[str, RdCurve]] = {}
    for candidate in view.candidates:
        if candidate.score is None or candidate.adoption is None:
            continue
        label = f"v{candidate.adoption.version}  {candidate.score.bitrate_mbps:.2f} Mbit/s"
        curves[label] = {clip.clip: clip.curve for clip in candidate.score.clips}
    if not curves and view.best is not None and view.best.score is not None:
        label = f"{view.best.candidate_id} (not adopted)"
        curves[label] = {clip.clip: clip.curve for clip in view.best.score.clips}
    if not curves:
        message = f"nothing to draw: no candidate of {view.run_id} was fully evaluated yet"
        raise UserError(message)
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / "rd.png", folder / "rd.svg"
    plot_rd(
        anchors={anchor.curve.clip: anchor.curve for anchor in view.anchors},
        curves=curves,
        streams={anchor.curve.clip: anchor.stream for anchor in view.anchors},
        title=f"{view.run_id}: rate–distortion against HEVC (x265 medium)",
        png=png,
        svg=svg,
    )
    return png, svg
