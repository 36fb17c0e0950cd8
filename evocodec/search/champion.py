"""The version to beat in a run, with numbers measured in this run."""

import threading
from dataclasses import dataclass

from evocodec.domain.events import Adopted, CandidateClosed, Evaluated, Event, Judged
from evocodec.domain.results import Score
from evocodec.domain.vocabulary import VerdictRule
from evocodec.rules.adoption import ChampionFacts


@dataclass(frozen=True, slots=True)
class MeasuredChampion:
    """A version and the candidate of this run that it was measured as; neither before the first."""

    candidate_id: str = ""
    facts: ChampionFacts | None = None


class CurrentChampion:
    """Folds events into the version to beat; any thread may read it.

    ``lock`` is held from looking at the version to beat until an adoption is recorded: else two
    candidates that finish together could both be committed as better than the older version.
    ``observe`` does not take it, as it is called for the very event that an adoption records.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._now = MeasuredChampion()
        self._scores: dict[str, Score] = {}

    @property
    def now(self) -> MeasuredChampion:
        """The version to beat at this moment."""
        return self._now

    @property
    def facts(self) -> ChampionFacts | None:
        """Its numbers."""
        return self._now.facts

    @property
    def candidate_id(self) -> str:
        """The candidate that it was measured as; empty when there is none."""
        return self._now.candidate_id

    def observe(self, event: Event) -> None:
        """Take in one event of the run, in the order of the ledger."""
        match event:
            case Evaluated(score=score):
                self._scores[event.candidate_id] = score
            case Adopted(version=version):
                self._set(event.candidate_id, f"v{version}")
            case Judged(verdict=verdict) if verdict.rule is VerdictRule.BASELINE:
                self._set(event.candidate_id, verdict.compared_with)
            case CandidateClosed():
                self._scores.pop(event.candidate_id, None)
            case _:
                pass

    def _set(self, candidate_id: str, version: str) -> None:
        score = self._scores.get(candidate_id)
        if score is None:
            raise LookupError(f"{candidate_id} became {version} without a score in the ledger")
        bits = {clip.clip: clip.candidate_bits for clip in score.clips}
        facts = ChampionFacts(version, score.bitrate_mbps, score.compression_ratio, bits)
        self._now = MeasuredChampion(candidate_id, facts)
