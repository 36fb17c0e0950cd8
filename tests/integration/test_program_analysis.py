"""Programs are analysed by processes of their own: what kills those is the program's own fault."""

import hashlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from evocodec.app.programs import built_in
from evocodec.codec.program import Program
from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.vocabulary import GateRule
from evocodec.sandbox.parser_pool import ParserLimitError, ParserLimits, ParserPool
from evocodec.sandbox.review.analysis import Analyser, analyse
from tests.support.default_options import default_policy

CODEC = (Path(__file__).parents[1] / "data" / "toy_codec.py").read_text()
# Python compares each function with all before it when it compiles them.
SLOW = "lambda:0\n" * 20_000 + CODEC


def facts_of(text: str) -> bytes:
    return Program(text).facts.digest.encode()


def read(path: str) -> bytes:
    return Path(path).read_bytes()


def killed_from_outside() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


@pytest.fixture
def pool() -> Iterator[ParserPool]:
    pool = ParserPool(ParserLimits(cpu_seconds=2.0, memory_bytes=256 << 20), processes=2)
    yield pool
    pool.close()


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


@pytest.mark.parametrize("text", [CODEC, built_in("inter"), "def (", "import os\n" + CODEC])
def test_an_analysis_from_another_process_is_that_of_this_one(text: str, pool: ParserPool) -> None:
    here = analyse(Program(text), default_policy())
    there = Analyser(default_policy(), pool).analyse(Program(text))
    assert there.review == here.review
    assert all(isinstance(finding.rule, GateRule) for finding in there.review.findings)
    assert there.program == here.program
    assert there.program.known_facts == here.program.facts
    assert there.program.known_tunables == here.program.tunables_or_error


def test_a_program_is_analysed_once_and_never_in_this_process(pool: ParserPool) -> None:
    analyser = Analyser(default_policy(), pool)
    first = analyser.analyse(Program(CODEC))
    pool.close()
    assert analyser.analyse(Program(CODEC)) is first
    assert first.program.facts.packed_bytes > 0
    assert "_parsed" not in vars(first.program)


def test_an_analysis_without_end_is_a_finding_and_the_next_program_is_analysed(
    pool: ParserPool,
) -> None:
    with pytest.raises(ParserLimitError):
        pool.call(facts_of, SLOW)
    hurried = ParserPool(ParserLimits(cpu_seconds=0.02), processes=1)
    found = Analyser(default_policy(), hurried).analyse(Program(built_in("inter")))
    hurried.close()
    (finding,) = found.review.findings
    assert finding.rule == "review_limit"
    assert re.search(r"more than 0.02 s of CPU time", finding.message)
    assert len(found.program.facts.digest) == 64
    assert Analyser(default_policy(), pool).analyse(Program(CODEC)).review.accepted


def test_a_limit_of_time_and_one_of_memory_say_which_it_was(pool: ParserPool) -> None:
    with pytest.raises(ParserLimitError, match="more than 2 s of CPU time"):
        pool.call(hashlib.pbkdf2_hmac, "sha256", b"", b"", 10**9)
    with pytest.raises(ParserLimitError, match="more than 256 MiB of memory"):
        pool.call(bytes, 1 << 40)


def test_the_time_limit_is_of_one_request_and_not_of_a_process() -> None:
    pool = ParserPool(ParserLimits(cpu_seconds=1.0), processes=1)
    spent = 0.0
    while spent < 4.0:
        pool.call(hashlib.pbkdf2_hmac, "sha256", b"", b"", 400_000)
        (child,) = psutil.Process().children()
        times = child.cpu_times()
        spent = times.user + times.system
    pool.close()


def test_a_process_that_dies_is_replaced_and_its_request_made_again(pool: ParserPool) -> None:
    assert pool.call(bytes, 3) == b"\0\0\0"
    before = children()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert pool.call(bytes, 3) == b"\0\0\0"
    assert children() - before


def test_a_text_that_ends_python_twice_is_given_up(pool: ParserPool) -> None:
    with pytest.raises(ParserLimitError, match="SIGABRT"):
        pool.call(os.abort)


def test_a_process_that_is_ended_from_outside_each_time_is_no_fault_of_the_text(
    pool: ParserPool,
) -> None:
    with pytest.raises(InfrastructureFailure, match=r"lost 3 times.*SIGKILL"):
        pool.call(killed_from_outside)
    assert pool.call(bytes, 1) == b"\0"


def test_a_machine_that_cannot_open_a_file_is_no_fault_of_the_text(pool: ParserPool) -> None:
    with pytest.raises(InfrastructureFailure, match=r"lost 3 times.*FileNotFoundError"):
        pool.call(read, "/nowhere")


def test_a_process_that_cannot_start_is_no_fault_of_the_text(
    pool: ParserPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(InfrastructureFailure, match=r"did not start .exit code 1"):
        pool.call(bytes, 1)


def test_an_error_in_a_task_is_told_and_the_next_request_is_answered(pool: ParserPool) -> None:
    with pytest.raises(ParserLimitError, match="ValueError"):
        pool.call(bytes, -1)
    assert pool.call(bytes, 1) == b"\0"


def test_processes_start_when_needed_and_end_with_the_pool() -> None:
    before = children()
    pool = ParserPool(processes=2)
    assert children() == before
    threads = [threading.Thread(target=pool.call, args=(bytes, 1)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    started = children() - before
    assert 1 <= len(started) <= 2
    pool.close()
    pool.close()
    assert not children() & started


def test_no_secret_of_the_environment_reaches_a_process(
    pool: ParserPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOCODEC_MODEL__API_KEY", "BAIT")
    pool.call(bytes, 1)
    (child,) = psutil.Process().children()
    assert "EVOCODEC_MODEL__API_KEY" not in child.environ()
