"""Two candidates that finish together: the second is compared with the first, not with the past."""

from pathlib import Path
from typing import Any

from evocodec.codec.program import Program
from evocodec.domain.candidate import Origin
from evocodec.domain.clock import utc_now
from evocodec.domain.events import CandidateOpened, CodeWritten, Evaluated, Judged, Planned
from graph.decide import DecideNodes
from graph.services import Services
from graph.state import CandidateState
from tests.support.archive_from_events import score
from tests.support.graph_services import RUN, services_in


def measured(services: Services, candidate_id: str, bitrate_mbps: float) -> CandidateState:
    """A candidate that has come through the full evaluation."""
    sha256 = services.programs.put(Program(f"# {candidate_id}")).sha256
    common: dict[str, Any] = {"run_id": RUN, "at": utc_now(), "candidate_id": candidate_id}
    for event in (
        CandidateOpened(**common, parent_id="", number=int(candidate_id[1:])),
        Planned(**common, origin=Origin.MUTATION, hypothesis="fewer bits"),
        CodeWritten(**common, attempt=0, source_sha256=sha256, program_bytes=7),
        Evaluated(**common, attempt=0, score=score(bitrate_mbps)),
    ):
        services.journal.publish(event)
    return {
        "candidate_id": candidate_id,
        "parent_id": "",
        "number": int(candidate_id[1:]),
        "attempt": 0,
        "source_sha256": sha256,
        "outcome": "evaluated",
    }


def test_a_second_adoption_is_judged_again_against_the_first(tmp_path: Path) -> None:
    services = services_in(tmp_path)
    nodes = DecideNodes(services)
    first, second = measured(services, "c0001", 8.9), measured(services, "c0002", 8.5)
    assert nodes.judge(first)["outcome"] == "adopt"
    assert nodes.judge(second)["outcome"] == "adopt"
    assert nodes.adopt(first)["outcome"] == "adopted"
    assert nodes.adopt(second)["outcome"] == "stale"
    assert nodes.judge(second)["outcome"] == "rejected"
    nodes.record(second)
    verdicts = [
        event.verdict
        for _, event in services.journal.ledger.events(RUN, candidate_id="c0002")
        if isinstance(event, Judged)
    ]
    assert [verdict.compared_with for verdict in verdicts] == ["HEVC (v0)", "v1"]
    assert [version.version for version in services.champions.versions()] == [1]
    closed = services.run_state.view().candidate("c0002")
    assert closed is not None
    assert closed.status.value == "rejected"
    assert "of v1" in closed.reason


def test_adopting_again_after_a_crash_makes_no_second_commit(tmp_path: Path) -> None:
    services = services_in(tmp_path)
    nodes = DecideNodes(services)
    state = measured(services, "c0001", 8.0)
    nodes.judge(state)
    services.champions.adopt(nodes._entry(state, score(8.0), nodes._verdict(state)))
    assert nodes.adopt(state)["outcome"] == "adopted"
    assert [version.version for version in services.champions.versions()] == [1]
    assert services.champion.facts is not None
    assert services.champion.facts.version == "v1"
