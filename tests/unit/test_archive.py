"""The archive: estimates, parents, and what is under way, all told by events."""

import math

import pytest

from evocodec.codec.program import Program
from evocodec.domain.events import CodeWritten
from evocodec.domain.program import ProgramFacts
from evocodec.search.archive import Archive, ArchiveEntry, SearchMode
from evocodec.search.facts import FactsOfOldPrograms
from tests.support.archive_from_events import ArchiveFromEvents

SOURCE = "A = 1  # evolve: int 0..9\n"


def program(number: int) -> str:
    return SOURCE.replace("1", str(number), 1)


def edits(number: int) -> tuple[tuple[str, str], ...]:
    return (("A", str(number)),)


def filled(mode: SearchMode = "mutation") -> ArchiveFromEvents:
    """The first program, a screened one that is better, another score, and a failure."""
    told = ArchiveFromEvents(mode=mode, seed=5)
    told.evaluated("c0001", program(1), 14.0)
    told.plan("c0002", parent_id="c0001", edits=edits(2))
    told.write("c0002", Program(program(2)))
    told.screen("c0002", 12 / 14, "c0001")
    told.evaluated("c0003", program(3), 13.0, parent_id="c0001", edits=edits(3))
    told.plan("c0004", parent_id="c0001", edits=edits(4))
    told.write("c0004", Program(program(4)))
    told.fail("c0004")
    return told


def test_the_best_is_the_lowest_estimate_and_failures_have_none() -> None:
    archive = filled().archive
    best = archive.best()
    assert best is not None
    assert (best.candidate_id, best.full) == ("c0002", False)
    assert best.estimated_bitrate_mbps == pytest.approx(12.0)
    assert archive.get("c0004").failed
    assert archive.get("c0004").estimated_bitrate_mbps is None


def test_the_best_evaluated_is_the_lowest_full_score() -> None:
    archive = filled().archive
    best = archive.best_evaluated()
    assert best is not None
    assert best.candidate_id == "c0003"
    assert Archive(seed=1).best_evaluated() is None


def test_a_full_evaluation_replaces_a_screen_and_not_the_other_way_round() -> None:
    told = filled()
    told.evaluate("c0002", 13.5)
    told.screen("c0002", 0.5, "c0001")
    assert told.archive.get("c0002").estimated_bitrate_mbps == 13.5
    best = told.archive.best()
    assert best is not None
    assert best.candidate_id == "c0003"


def test_a_screen_whose_reference_has_no_number_gives_no_estimate_and_is_no_failure() -> None:
    told = filled()
    told.plan("c0005", parent_id="c0001", edits=edits(5))
    told.write("c0005", Program(program(5)))
    told.screen("c0005", 0.9, "c0004")
    told.close("c0005")
    entry = told.archive.get("c0005")
    assert (entry.ranked, entry.failed, entry.estimated_bitrate_mbps) == (False, False, None)


def test_mutations_start_from_the_best_estimate() -> None:
    told = filled()
    told.adopt("c0001")
    assert told.archive.select_parent().candidate_id == "c0002"


def test_models_start_from_the_champion_mostly_and_else_from_good_ones() -> None:
    told = filled("model")
    told.adopt("c0003")
    picks = []
    for number in range(5, 305):
        picks.append(told.archive.select_parent().candidate_id)
        told.plan(f"c{number:04d}", parent_id=picks[-1])
    assert 180 < picks.count("c0003") < 290
    assert picks.count("c0002") > picks.count("c0001")
    assert set(picks) <= {"c0001", "c0002", "c0003"}


def test_asking_for_a_parent_again_gives_the_same_one() -> None:
    told = filled("model")
    told.adopt("c0003")
    first = [told.archive.select_parent() for _ in range(20)]
    assert len({entry.candidate_id for entry in first}) == 1


def test_what_is_found_overfitted_is_no_parent_and_the_first_program_stays_one() -> None:
    told = filled()
    told.judge("c0003", "overfitted")
    told.judge("c0001", "overfitted")
    assert told.archive.get("c0003").failed
    assert told.archive.get("c0001").full


def test_a_known_version_that_is_measured_again_is_the_champion() -> None:
    told = filled()
    told.judge("c0001", "baseline")
    assert told.archive.champion is told.archive.get("c0001")


def test_without_a_measured_candidate_there_is_no_parent() -> None:
    told = ArchiveFromEvents()
    with pytest.raises(LookupError, match="no measured candidate"):
        told.archive.select_parent()
    told.plan("c0001")
    told.write("c0001", Program(program(1)))
    told.fail("c0001")
    with pytest.raises(LookupError, match="no measured candidate"):
        told.archive.select_parent()


@pytest.mark.parametrize("failure", ["review", "duplicate", "no_code", "timeout"])
def test_a_proposal_is_pending_until_it_fails_however_it_fails(failure: str) -> None:
    told = filled()
    told.plan("c0006", parent_id="c0001", edits=edits(6))
    assert told.archive.pending == {"c0006": {"A": "6"}}
    if failure != "no_code":
        told.write("c0006", Program(program(6)))
    told.fail("c0006", failure)
    assert told.archive.pending == {}
    entry = told.archive.get("c0006")
    assert entry.failed
    assert entry.edits == edits(6)
    assert entry.values == {"A": "6"}


def test_a_proposal_is_pending_until_it_is_measured_or_closed() -> None:
    told = filled()
    for number in (6, 7, 8):
        told.plan(f"c{number:04d}", parent_id="c0001", edits=edits(number))
    assert set(told.archive.pending) == {"c0006", "c0007", "c0008"}
    told.write("c0006", Program(program(6)))
    told.screen("c0006", 0.9, "c0001")
    told.evaluate("c0007", 13.0)
    told.close("c0008")
    assert told.archive.pending == {}
    assert told.archive.get("c0008").failed


def test_a_candidate_that_was_never_planned_leaves_nothing_behind() -> None:
    told = filled()
    told.fail("c0009", "no_code")
    told.close("c0009")
    assert told.archive.find("c0009") is None


def test_an_entry_knows_the_values_of_its_marks_and_not_its_text() -> None:
    told = filled()
    assert told.values("c0003") == {"A": "3"}
    assert "evolve" not in repr(told.archive.get("c0003"))


def test_programs_without_facts_are_parsed_once_when_their_values_are_looked_at() -> None:
    parsed: list[str] = []

    def derive(text: str) -> ProgramFacts:
        parsed.append(text)
        return ProgramFacts(text, text, (("A", text),))

    facts_of = FactsOfOldPrograms(lambda sha256: sha256, derive)
    archive = Archive(seed=1, facts_of=facts_of)
    told = ArchiveFromEvents()
    told.archive = archive
    for number in range(1, 51):
        name = f"c{number:04d}"
        told.plan(name, edits=edits(number))
        told.observe(CodeWritten, name, attempt=0, source_sha256=str(number), program_bytes=1)
        told.evaluate(name, 10.0 + number)
    assert archive.select_parent().candidate_id == "c0001"
    assert parsed == []
    assert archive.get("c0007").values == archive.get("c0007").values == {"A": "7"}
    assert parsed == ["7"]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_an_estimate_must_be_a_bitrate(bad: float) -> None:
    with pytest.raises(ValueError, match="no bitrate"):
        ArchiveEntry("c0001", estimated_bitrate_mbps=bad)


def test_an_unknown_candidate_is_a_lookup_error() -> None:
    assert filled().archive.find("c0999") is None
    with pytest.raises(LookupError, match="c0999"):
        filled().archive.get("c0999")
