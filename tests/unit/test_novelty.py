"""What counts as the same program, and who was first with it."""

import threading

from evocodec.codec.program import Program
from evocodec.domain.events import CodeWritten
from evocodec.domain.program import ProgramFacts
from evocodec.search.facts import FactsOfOldPrograms
from evocodec.search.novelty import Novelty
from evocodec.store.journal import Journal
from evocodec.store.memory import MemoryLedger
from tests.support.alike_programs import OTHER, PROGRAM, SAME


def written(candidate_id: str, source: str, *, attempt: int = 0, facts: bool = True) -> CodeWritten:
    program = Program(source)
    return CodeWritten(
        run_id="r",
        at="t",
        candidate_id=candidate_id,
        attempt=attempt,
        source_sha256=program.sha256,
        program_bytes=len(source),
        facts=program.facts if facts else None,
    )


def claim(novelty: Novelty, candidate_id: str, source: str) -> str | None:
    event = written(candidate_id, source)
    novelty.observe(event)
    return novelty.first_with(event)


def test_the_second_candidate_with_a_program_is_told_who_was_first() -> None:
    novelty = Novelty()
    assert claim(novelty, "c0001", PROGRAM) is None
    assert claim(novelty, "c0002", SAME["docstrings"]) == "c0001"
    assert claim(novelty, "c0001", PROGRAM) is None
    assert claim(novelty, "c0003", OTHER["constants"]) is None


def test_near_duplicates_differ_only_in_the_third_digit_of_float_constants() -> None:
    program = PROGRAM + "\nSCALE = 0.381\n"
    near, exact = Novelty(near=True), Novelty()
    for novelty in (near, exact):
        assert claim(novelty, "c0001", program) is None
    assert claim(near, "c0002", program.replace("0.381", "0.384")) == "c0001"
    assert claim(exact, "c0002", program.replace("0.381", "0.384")) is None
    assert claim(near, "c0003", program.replace("0.381", "0.39")) is None
    assert claim(near, "c0004", program.replace("STEP = 8", "STEP = 9")) is None


def test_who_is_first_is_decided_by_the_ledger_and_not_by_who_asks_first() -> None:
    novelty = Novelty()
    first, second = written("c0002", PROGRAM), written("c0001", SAME["comments"])
    novelty.observe(first)
    novelty.observe(second)
    assert novelty.first_with(second) == "c0002"
    assert novelty.first_with(first) is None


def test_an_old_ledgers_programs_are_parsed_once_and_only_when_somebody_asks() -> None:
    sources = {written("c", text).source_sha256: text for text in (PROGRAM, OTHER["operators"])}
    parsed: list[str] = []

    def derive(text: str) -> ProgramFacts:
        parsed.append(text)
        return Program(text).facts

    novelty = Novelty(facts_of=FactsOfOldPrograms(sources.__getitem__, derive))
    novelty.observe(written("c0001", PROGRAM, facts=False))
    novelty.observe(written("c0002", OTHER["operators"], facts=False))
    novelty.observe(written("c0003", PROGRAM))  # of today, recorded after them
    assert parsed == []
    assert novelty.first_with(written("c0003", PROGRAM)) == "c0001"
    assert novelty.first_with(written("c0004", OTHER["operators"])) == "c0002"
    assert sorted(parsed) == sorted([PROGRAM, OTHER["operators"]])


def test_a_ledger_with_facts_is_folded_without_its_programs() -> None:
    def no_program(sha256: str) -> ProgramFacts:
        raise AssertionError(f"{sha256} was asked for")

    novelty = Novelty(facts_of=no_program)
    assert claim(novelty, "c0001", PROGRAM) is None
    assert claim(novelty, "c0002", PROGRAM) == "c0001"


def test_of_many_threads_exactly_one_is_first() -> None:
    novelty = Novelty()
    journal = Journal(MemoryLedger(), "r", novelty.observe)
    start = threading.Barrier(8)
    owners: list[str | None] = []

    def write(candidate_id: str) -> None:
        event = written(candidate_id, PROGRAM)
        start.wait()
        journal.publish(event)
        owners.append(novelty.first_with(event))

    threads = [threading.Thread(target=write, args=(f"c{n:04d}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert owners.count(None) == 1
    assert len({owner for owner in owners if owner}) == 1
