"""Plots of a run: HEVC and every adopted version, and curves that cannot be compared."""

import threading
from collections.abc import Mapping
from pathlib import Path

from evocodec.curves.rd_curve import make_curve
from evocodec.domain.errors import FailureKind, UserError
from evocodec.domain.events import AttemptFailed, Evaluated, Event, PointMeasured
from evocodec.domain.results import RatePoint, RdCurve, Stage
from evocodec.domain.video import StreamInfo
from evocodec.views.run import RunView


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
        if candidate.held_out_bitrate_mbps is not None:
            label += f" ({candidate.held_out_bitrate_mbps:.2f} held-out)"
        curves[label] = {clip.clip: clip.curve for clip in candidate.score.clips}
    if not curves and view.best is not None and view.best.score is not None:
        label = f"{view.best.candidate_id} (not adopted)"
        curves[label] = {clip.clip: clip.curve for clip in view.best.score.clips}
    if not curves:
        message = f"nothing to draw: no candidate of {view.run_id} was fully evaluated yet"
        raise UserError(message)
    from evocodec.report.rd_plot import plot_rd

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


class FaultPictures:
    """Listens to events, and draws the curves of an attempt whose rates cannot be compared.

    Any thread may call. Pictures lie in ``folder``, named after candidate and attempt.
    """

    def __init__(
        self, anchors: Mapping[str, RdCurve], streams: Mapping[str, StreamInfo], folder: Path
    ) -> None:
        self._anchors = anchors
        self._streams = streams
        self._folder = folder
        # Several candidates are measured at a time.
        self._lock = threading.Lock()
        self._points: dict[tuple[str, int], list[RatePoint]] = {}

    def __call__(self, event: Event) -> None:
        """Keep points of full evaluations, until the attempt is over."""
        if isinstance(event, PointMeasured) and event.stage is Stage.FULL:
            with self._lock:
                points = self._points.setdefault((event.candidate_id, event.attempt), [])
                points.append(event.point)
        elif isinstance(event, Evaluated):
            with self._lock:
                self._points.pop((event.candidate_id, event.attempt), None)
        elif isinstance(event, AttemptFailed):
            self.draw(event.candidate_id, event.attempt, event.failure, event.message)

    def draw(self, candidate_id: str, attempt: int, failure: str, message: str) -> Path | None:
        """Draw what was measured of a failed attempt; None when its curves are not to blame."""
        with self._lock:
            points = self._points.pop((candidate_id, attempt), [])
        by_clip: dict[str, list[RatePoint]] = {}
        for point in points:
            if point.clip in self._anchors:
                by_clip.setdefault(point.clip, []).append(point)
        if failure != FailureKind.QUALITY or not by_clip:
            return None
        from evocodec.report.fault_plot import plot_faults

        self._folder.mkdir(parents=True, exist_ok=True)
        png = self._folder / f"{candidate_id}-{attempt}.png"
        plot_faults(
            anchors=self._anchors,
            curves={clip: make_curve(candidate_id, clip, by_clip[clip]) for clip in by_clip},
            streams=self._streams,
            title=message,
            png=png,
        )
        return png
