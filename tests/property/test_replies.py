"""Replies of every rendering give the program that they mean, or a refusal, never another one."""

from hypothesis import HealthCheck, given, settings

from agents.extract import extract_program
from evocodec.domain.errors import CandidateFailure, FailureKind
from tests.support.rendered_replies import ReplyCase, reply_cases, same_program


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(reply_cases())
def test_a_reply_gives_the_program_that_it_means_or_a_refusal(case: ReplyCase) -> None:
    try:
        found = extract_program(case.reply, case.base)
    except CandidateFailure as failure:
        if failure.kind is not FailureKind.NO_CODE:
            raise
        return
    if found.program.text.strip() != case.base.strip():  # which is refused as one that was tried
        assert same_program(found.program.text, case.program), found.how
