"""BD-rate of the current version against every anchor whose curves the run has."""

import math
from collections.abc import Callable

from prometheus_client import Gauge

from evocodec.domain.events import AnchorReady
from evocodec.domain.results import RdCurve, Score
from evocodec.telemetry import labels
from evocodec.telemetry.labels import Family

BdRateOf = Callable[[RdCurve, RdCurve], float | None]
"""BD-rate in per cent of the second curve against the first; None where there is no figure."""


def no_comparison(anchor: RdCurve, test: RdCurve) -> None:
    """Comparison without curves: no figure."""


class ChampionRates:
    """Fills two gauges an anchor: a mean over clips, as reports have it, and over how many.

    The primary anchor's figure is the score's own. An anchor without a figure on any clip has no
    series, or not-a-number once it had one.
    """

    def __init__(self, rates: Family[Gauge], clips: Family[Gauge], bd_rate: BdRateOf) -> None:
        self._rates = rates
        self._clips = clips
        self._bd_rate = bd_rate
        self._primary = labels.ANCHORS[0]
        self._curves: dict[str, dict[str, RdCurve]] = {}
        self._shown: set[str] = set()
        self._score: Score | None = None

    def learn(self, event: AnchorReady) -> None:
        """Take in an anchor's curve; one that comes late is compared with the version at once."""
        codec = event.curve.codec
        if event.primary:
            self._primary = codec
            return
        self._curves.setdefault(codec, {})[event.curve.clip] = event.curve
        self._compare(codec)

    def set_champion(self, score: Score) -> None:
        """Show another version's figures."""
        self._score = score
        self._show(self._primary, score.bd_rate_percent, len(score.clips))
        for codec in self._curves:
            self._compare(codec)

    def _compare(self, codec: str) -> None:
        curves = self._curves[codec]
        measured = self._score.clips if self._score else ()
        rates = [
            self._bd_rate(curves[clip.clip], clip.curve) for clip in measured if clip.clip in curves
        ]
        known = [rate for rate in rates if rate is not None]
        if known or codec in self._shown:
            mean = math.fsum(known) / len(known) if known else math.nan
            self._show(codec, mean, len(known))

    def _show(self, codec: str, percent: float, clips: int) -> None:
        self._shown.add(codec)
        self._rates.of(codec).set(percent)
        self._clips.of(codec).set(clips)
