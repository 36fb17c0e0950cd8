"""A program is parsed once and read once, from the reply to the event that records it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agents.reply_reader import ReplyReader
from evocodec.app.programs import built_in
from evocodec.codec.program import Program, derive_facts
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import CodeWritten, code_key
from evocodec.domain.vocabulary import CallOutcome, GateRule
from evocodec.sandbox.parser_pool import ParserLimits, ParserPool
from evocodec.sandbox.review.analysis import Analyser
from evocodec.store.memory import MemoryBlobStore
from evocodec.store.programs import ProgramStore
from graph.propose import ProposeNodes
from tests.support.default_options import default_policy
from tests.support.graph_services import services_in

CODEC = (Path(__file__).parents[1] / "data" / "toy_codec.py").read_text()


class CountingPool(ParserPool):
    calls = 0

    def call(
        self, task: Callable[..., bytes], *arguments: object, cpu_seconds: float | None = None
    ) -> bytes:
        self.calls += 1
        return super().call(task, *arguments, cpu_seconds=cpu_seconds)


class CountingBlobs(MemoryBlobStore):
    reads = 0

    def get(self, sha256: str) -> bytes:
        self.reads += 1
        return super().get(sha256)


@pytest.fixture
def pool() -> Iterator[CountingPool]:
    pool = CountingPool(ParserLimits(memory_bytes=128 << 20), processes=1)
    yield pool
    pool.close()


@pytest.mark.parametrize("program", [CODEC, built_in("inter")], ids=["toy", "inter"])
def test_a_reply_is_parsed_once_for_its_outcome_its_program_and_the_review(
    program: str, pool: CountingPool
) -> None:
    analyser = Analyser(default_policy(), pool)
    reader = ReplyReader(analyser, Program(CODEC))
    reply = f"Here it is.\n\n```python\n{program}\n```\n"
    assert reader.outcome(reply) is CallOutcome.OK
    found = reader.program(reply)
    assert found.program.text == program.strip("\n") + "\n"
    assert found.program.facts == derive_facts(found.program.text)
    assert analyser.analyse(found.program).review.accepted
    assert pool.calls == 1


def test_a_program_that_cannot_be_analysed_is_found_and_refused_by_the_review() -> None:
    hurried = CountingPool(ParserLimits(cpu_seconds=0.02), processes=1)
    analyser = Analyser(default_policy(), hurried)
    reader = ReplyReader(analyser, Program(CODEC))
    program = built_in("inter")
    reply = f"```python\n{program}```\n"
    assert reader.outcome(reply) is CallOutcome.OK
    found = reader.program(reply)
    assert found.program.text == program
    (finding,) = analyser.analyse(found.program).review.findings
    assert finding.rule is GateRule.REVIEW_LIMIT
    hurried.close()


def test_a_reply_that_exhausts_the_parser_holds_no_program(pool: CountingPool) -> None:
    reader = ReplyReader(Analyser(default_policy(), pool), Program(CODEC))
    reply = "```python\n" + "x = [1, (2, 3)]\n" * 400_000 + "```\n"
    assert reader.outcome(reply) is CallOutcome.UNPARSABLE
    with pytest.raises(CandidateFailure) as caught:
        reader.program(reply)
    assert caught.value.kind is FailureKind.NO_CODE


def test_a_program_in_use_is_read_from_the_blobs_once(pool: CountingPool) -> None:
    blobs = CountingBlobs()
    analyser = Analyser(default_policy(), pool)
    store = ProgramStore(blobs, lambda program: analyser.analyse(program).program)
    sha256 = blobs.put(CODEC.encode())
    first = store.get(sha256)
    assert first.known_facts == derive_facts(CODEC)
    assert store.get(sha256) is first
    assert (blobs.reads, pool.calls) == (1, 1)


def test_a_program_that_was_just_written_is_not_read_at_all() -> None:
    blobs = CountingBlobs()
    store = ProgramStore(blobs, lambda program: program)
    program = store.put(Program(CODEC))
    assert store.get(program.sha256) is program
    assert blobs.reads == 0


def test_the_store_keeps_the_programs_used_last() -> None:
    blobs = CountingBlobs()
    store = ProgramStore(blobs, lambda program: program)
    first = store.put(Program("x = 0\n"))
    for number in range(1, 100):
        store.put(Program(f"x = {number}\n"))
    assert store.get(first.sha256).text == "x = 0\n"
    assert blobs.reads == 1


def test_the_event_of_a_program_carries_its_facts(tmp_path: Path, pool: CountingPool) -> None:
    analyser = Analyser(default_policy(), pool)
    services = replace(
        services_in(tmp_path),
        baselines=(Program(CODEC),),
        programs=ProgramStore(MemoryBlobStore(), lambda program: analyser.analyse(program).program),
    )
    ProposeNodes(services).code(
        {"candidate_id": "c0001", "parent_id": "", "number": 1, "attempt": 0}
    )
    written = services.journal.find(code_key("c0001", 0))
    assert isinstance(written, CodeWritten)
    assert written.facts == derive_facts(CODEC)
