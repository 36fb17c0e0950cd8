"""An archive that is told of candidates as a run tells it: by events."""

from collections.abc import Mapping
from typing import Any

from evocodec.codec.program import Program
from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus, Origin, Verdict
from evocodec.domain.errors import FailureKind
from evocodec.domain.results import Score, ScreenResult, Stage
from evocodec.domain.vocabulary import VerdictRule
from evocodec.search.archive import Archive, SearchMode

RUN = "r"
AT = "2026-01-02T03:04:05.678"


def score(bitrate_mbps: float) -> Score:
    return Score(
        bitrate_mbps=bitrate_mbps,
        compression_ratio=400.0 / bitrate_mbps,
        bd_rate_percent=10 * bitrate_mbps - 100,
        worst_clip="city",
        worst_clip_ratio=bitrate_mbps / 10,
        encode_fps=1.0,
        decode_fps=1.0,
        peak_memory_bytes=1,
        program_bytes=1,
        clips=(),
    )


class ArchiveFromEvents:
    """Events of candidates, into an archive; ``programs`` are theirs, each parsed once."""

    def __init__(self, *, mode: SearchMode = "mutation", seed: int = 1) -> None:
        self.archive = Archive(mode=mode, seed=seed)
        self.programs: dict[str, Program] = {}

    def plan(
        self, candidate_id: str, *, parent_id: str = "", edits: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """It is opened and planned."""
        number = int(candidate_id[1:])
        self.observe(ev.CandidateOpened, candidate_id, parent_id=parent_id, number=number)
        origin = Origin.MUTATION if edits else Origin.SEED
        self.observe(ev.Planned, candidate_id, origin=origin, hypothesis="h", edits=edits)

    def write(self, candidate_id: str, program: Program) -> None:
        """It has a program."""
        self.programs[candidate_id] = program
        self.observe(
            ev.CodeWritten,
            candidate_id,
            attempt=0,
            source_sha256=program.sha256,
            program_bytes=len(program.text),
            facts=program.facts,
        )

    def evaluated(
        self,
        candidate_id: str,
        source: str,
        bitrate_mbps: float,
        *,
        parent_id: str = "",
        edits: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """It went all the way to a full score."""
        self.plan(candidate_id, parent_id=parent_id, edits=edits)
        self.write(candidate_id, Program(source))
        self.evaluate(candidate_id, bitrate_mbps)

    def evaluate(self, candidate_id: str, bitrate_mbps: float) -> None:
        self.observe(ev.Evaluated, candidate_id, attempt=0, score=score(bitrate_mbps))

    def screen(self, candidate_id: str, ratio: float, reference_id: str) -> None:
        result = ScreenResult(ratio, {}, reference_id, passed=False, reason="")
        self.observe(ev.Screened, candidate_id, attempt=0, result=result)

    def fail(self, candidate_id: str, failure: str = "timeout") -> None:
        self.observe(
            ev.AttemptFailed,
            candidate_id,
            attempt=0,
            stage=Stage.SMOKE,
            failure=FailureKind(failure),
            message="m",
        )

    def judge(self, candidate_id: str, rule: str) -> None:
        self.observe(ev.Judged, candidate_id, verdict=Verdict(False, VerdictRule(rule), "", "v1"))

    def adopt(self, candidate_id: str, version: int = 1) -> None:
        self.observe(
            ev.Adopted, candidate_id, version=version, commit="c", tag=f"v{version}", pushed=False
        )

    def close(self, candidate_id: str) -> None:
        status = CandidateStatus.REJECTED
        self.observe(ev.CandidateClosed, candidate_id, status=status, reason="r", experiment_id="e")

    def observe(self, cls: Any, candidate_id: str, **fields: Any) -> None:
        self.archive.observe(cls(run_id=RUN, at=AT, candidate_id=candidate_id, **fields))

    def values(self, candidate_id: str) -> Mapping[str, str]:
        return dict(self.archive.get(candidate_id).values)
