"""The archive: estimates, parents, what is under way, and filling it again from events."""

import math
from typing import Any

import pytest

from evocodec.domain.candidate import CandidateStatus, Origin
from evocodec.domain.errors import FailureKind
from evocodec.domain.events import (
    Adopted,
    AttemptFailed,
    CandidateClosed,
    CandidateOpened,
    CodeWritten,
    Evaluated,
    Event,
    Planned,
    Screened,
)
from evocodec.domain.results import Score, ScreenResult, Stage
from evocodec.search.archive import Archive, ArchiveEntry, SearchMode, restore

SOURCE = "A = 1  # evolve: int 0..9\n"


def entry(number: int, estimate: float | None, *, full: bool = True) -> ArchiveEntry:
    source = SOURCE.replace("1", str(number), 1)
    return ArchiveEntry(
        f"c{number:04d}", "c0001", source, estimated_bitrate_mbps=estimate, full=full
    )


def filled(mode: SearchMode = "mutation") -> Archive:
    archive = Archive(mode=mode, seed=5)
    archive.add(entry(1, 14.0))
    archive.add(entry(2, 12.0, full=False))
    archive.add(entry(3, 13.0))
    archive.add_failure(entry(4, 5.0))
    archive.add(entry(5, None))
    return archive


def test_the_best_is_the_lowest_estimate_and_failures_have_none() -> None:
    archive = filled()
    best = archive.best()
    assert best is not None
    assert best.candidate_id == "c0002"
    assert archive.get("c0004").failed
    assert archive.get("c0004").estimated_bitrate_mbps is None


def test_a_full_evaluation_replaces_a_screen_and_not_the_other_way_round() -> None:
    archive = filled()
    archive.add(entry(2, 13.5))
    archive.add(entry(2, 9.0, full=False))
    assert archive.get("c0002").estimated_bitrate_mbps == 13.5
    best = archive.best()
    assert best is not None
    assert best.candidate_id == "c0003"


def test_mutations_start_from_the_best_estimate() -> None:
    archive = filled()
    archive.set_champion("c0001")
    assert archive.select_parent().candidate_id == "c0002"


def test_models_start_from_the_champion_mostly_and_else_from_good_ones() -> None:
    archive = filled("model")
    archive.set_champion("c0003")
    picks = [archive.select_parent().candidate_id for _ in range(300)]
    assert 180 < picks.count("c0003") < 290
    assert picks.count("c0002") > picks.count("c0001")
    assert set(picks) <= {"c0001", "c0002", "c0003"}


def test_without_a_measured_candidate_there_is_no_parent() -> None:
    archive = Archive()
    with pytest.raises(LookupError, match="no measured candidate"):
        archive.select_parent()
    archive.add_failure(entry(1, None))
    with pytest.raises(LookupError, match="no measured candidate"):
        archive.select_parent()


def test_a_proposal_is_pending_until_it_is_measured_failed_or_released() -> None:
    archive = filled()
    for number in (6, 7, 8):
        archive.reserve(f"c{number:04d}", {"A": str(number)})
    archive.add(entry(6, 11.0))
    archive.add_failure(entry(7, None))
    assert archive.pending == {"c0008": {"A": "8"}}
    archive.release("c0008")
    assert archive.pending == {}


def test_an_entry_knows_the_values_of_its_marks() -> None:
    assert entry(3, 13.0).values == {"A": "3"}


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_an_estimate_must_be_a_bitrate(bad: float) -> None:
    with pytest.raises(ValueError, match="no bitrate"):
        entry(1, bad)


def test_an_unknown_candidate_is_a_lookup_error() -> None:
    assert filled().find("c0999") is None
    with pytest.raises(LookupError, match="c0999"):
        filled().get("c0999")


def score(bitrate_mbps: float) -> Score:
    return Score(
        bitrate_mbps=bitrate_mbps,
        compression_ratio=40.0,
        bd_rate_percent=0.0,
        worst_clip="city",
        worst_clip_ratio=1.0,
        encode_fps=1.0,
        decode_fps=1.0,
        peak_memory_bytes=1,
        program_bytes=1,
        clips=(),
    )


def history() -> list[Event]:
    """Seed measured and adopted; one screened out, one failed, one still open."""
    events: list[Event] = []

    def begin(number: int, value: int) -> dict[str, Any]:
        base: dict[str, Any] = {"run_id": "r", "at": "t", "candidate_id": f"c{number:04d}"}
        parent = "" if number == 1 else "c0001"
        edits = () if number == 1 else (("A", str(value)),)
        events.append(CandidateOpened(**base, parent_id=parent, number=number))
        events.append(Planned(**base, origin=Origin.MUTATION, hypothesis="h", edits=edits))
        return base

    def code(base: dict[str, Any], value: int) -> None:
        events.append(CodeWritten(**base, attempt=0, source_sha256=str(value), program_bytes=9))

    def close(base: dict[str, Any], status: CandidateStatus) -> None:
        events.append(CandidateClosed(**base, status=status, reason="r", experiment_id="e"))

    seed = begin(1, 1)
    code(seed, 1)
    events.append(Evaluated(**seed, attempt=0, score=score(14.0)))
    events.append(Adopted(**seed, version=1, commit="c", tag="v1", pushed=False))
    close(seed, CandidateStatus.ADOPTED)
    out = begin(2, 2)
    code(out, 2)
    events.append(
        Screened(**out, attempt=0, result=ScreenResult(1.1, {}, "c0001", False, "more bits"))
    )
    close(out, CandidateStatus.REJECTED)
    broken = begin(3, 3)
    code(broken, 3)
    events.append(
        AttemptFailed(
            **broken, attempt=0, stage=Stage.SMOKE, failure=FailureKind.TIMEOUT, message="slow"
        )
    )
    close(broken, CandidateStatus.TEST_FAILED)
    code(begin(4, 4), 4)
    return events


def test_an_archive_is_restored_from_events() -> None:
    archive = Archive()
    restore(archive, history(), lambda sha: SOURCE.replace("1", sha, 1))
    assert [e.candidate_id for e in archive.entries()] == ["c0001", "c0002", "c0003"]
    assert archive.champion is archive.get("c0001")
    assert archive.get("c0001").full
    assert archive.get("c0002").estimated_bitrate_mbps == pytest.approx(15.4)
    assert archive.get("c0003").failed
    assert archive.get("c0003").edits == (("A", "3"),)
    assert archive.pending == {"c0004": {"A": "4"}}
