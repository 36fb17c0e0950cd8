"""Other anchors: encoders besides the primary one, encoded in the background during a run."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from evocodec.anchors.encoders import AnchorEncoder, chosen_encoders
from evocodec.anchors.measure import covering_curve, is_cached
from evocodec.app.background import InBackground
from evocodec.app.clips import AnchoredClip
from evocodec.config import Settings
from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import RdCurve, Track
from evocodec.report.gather import within_range

_logger = logging.getLogger(__name__)

OnCurve = Callable[[AnchoredClip, RdCurve, bool], None]
"""Hears of a clip, another anchor's curve for it, and whether nothing had to be encoded."""


def require_anchors(settings: Settings) -> None:
    """Check the names of anchors before anything slow begins.

    Raises:
        ConfigError: there is none of that name.
    """
    chosen_encoders(settings.evaluation.anchors, Track(settings.evaluation.track))


class OtherAnchors:
    """Finds curves in a thread of its own, until there are no more or it is closed.

    Curves that were measured before come first, and cost nothing. What is missing is encoded, one
    rate after the other, only for anchors that ``evaluation.anchors`` names: a user who names none
    does not wait for encoders that are twenty times slower than x265.
    """

    def __init__(
        self,
        settings: Settings,
        cache: Path,
        anchored: Mapping[str, AnchoredClip],
        *,
        recorded: Callable[[str, AnchoredClip], bool],
        on_curve: OnCurve,
    ) -> None:
        """Begin at once; ``recorded`` says which anchor a run has already for a clip."""
        evaluation = settings.evaluation
        _, *encoders = chosen_encoders(evaluation.anchors, Track(evaluation.track))
        self._wanted = [
            (encoder, anchored_clip)
            for encoder in encoders
            for anchored_clip in anchored.values()
            if not recorded(encoder.name, anchored_clip)
        ]
        self._encoding = bool(evaluation.anchors)
        self._cache = cache
        self._on_curve = on_curve
        self._stop = threading.Event()
        self._work = InBackground(self._find)

    def close(self) -> None:
        """Give up on what is not known yet; rates that were encoded stay in the cache."""
        self._stop.set()
        self._work.wait()

    def _find(self) -> None:
        for encoder, anchored_clip, cached in self._in_order():
            if self._stop.is_set():
                return
            try:
                curve = covering_curve(
                    anchored_clip.clip, encoder, anchored_clip.curve, self._cache, stop=self._stop
                )
                if not self._stop.is_set():
                    self._on_curve(anchored_clip, within_range(curve, anchored_clip.curve), cached)
            except InfrastructureFailure as failure:
                if not self._stop.is_set():
                    # SVT-AV1 needs 64 samples a side: one anchor less is no reason to end a run.
                    _logger.warning(
                        "no %s on %s: %s", encoder.name, anchored_clip.clip.name, failure
                    )

    def _in_order(self) -> Iterator[tuple[AnchorEncoder, AnchoredClip, bool]]:
        missing = []
        for encoder, anchored_clip in self._wanted:
            if is_cached(anchored_clip.clip, encoder, self._cache, primary=anchored_clip.curve):
                yield encoder, anchored_clip, True
            else:
                missing.append((encoder, anchored_clip))
        if self._encoding:
            for encoder, anchored_clip in missing:
                yield encoder, anchored_clip, False
