"""Programs in the replies of a coder, found and analysed by a process of the parser pool."""

import json
from dataclasses import dataclass, field

from agents.extract import (
    Extracted,
    KeptEdits,
    extract_program,
    kept_edits,
    looks_like_refusal,
)
from agents.reading.edits import Edit
from agents.reading.placing import Misfit
from evocodec.codec.program import Program
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.vocabulary import CallOutcome
from evocodec.sandbox.parser_pool import ParserLimitError
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.review.analysis import (
    Analyser,
    analyse,
    analysis_fields,
    analysis_from,
)

_SEARCH_SECONDS = 10.0  # of CPU time, for a program in a reply


@dataclass(slots=True)
class ReplyReader:
    """Finds the program in replies to one question; each reply is parsed once.

    ``base`` is the program that edit blocks refer to. Serves one thread.
    """

    analyser: Analyser
    base: Program
    _read: dict[str, Extracted | CandidateFailure] = field(default_factory=dict)

    def outcome(self, reply: str) -> CallOutcome:
        """Name what a reply is worth."""
        if isinstance(self._found(reply), Extracted):
            return CallOutcome.OK
        refused = looks_like_refusal(reply) and "```" not in reply
        return CallOutcome.REFUSED if refused else CallOutcome.UNPARSABLE

    def program(self, reply: str) -> Extracted:
        """Return the program, which has been analysed; raises CandidateFailure (NO_CODE)."""
        found = self._found(reply)
        if isinstance(found, CandidateFailure):
            raise found
        return found

    def kept(self, reply: str) -> KeptEdits:
        """Return the base with those edits of a reply that fit, and the edits that do not."""
        try:
            answer = json.loads(self.analyser.pool.call(keeping_task, reply, self.base.text))
        except ParserLimitError:
            return KeptEdits(self.base.text)
        misfits = (Misfit(m["number"], Edit(m["old"], ""), m["why"], m["nearest"])
                   for m in answer["misfits"])  # fmt: skip
        return KeptEdits(answer["text"], tuple(answer["fitted"]), tuple(misfits))

    def _found(self, reply: str) -> Extracted | CandidateFailure:
        if reply not in self._read:
            self._read[reply] = self._ask(reply)
        return self._read[reply]

    def _ask(self, reply: str) -> Extracted | CandidateFailure:
        pool, policy = self.analyser.pool, self.analyser.policy
        try:
            answer = json.loads(pool.call(reading_task, reply, self.base.text, policy))
        except ParserLimitError:
            return self._extract_alone(reply)
        if "message" in answer:
            return CandidateFailure(FailureKind.NO_CODE, answer["message"], detail=answer["detail"])
        analysis = analysis_from(answer["program"], answer["analysis"])
        self.analyser.remember(analysis)
        return Extracted(analysis.program, answer["how"])

    def _extract_alone(self, reply: str) -> Extracted | CandidateFailure:
        """Where both together were too much: find the program, then analyse it by itself.

        A long reply without fences is parsed many times before the program is found. That takes
        the time of the search, and not that of the review.
        """
        try:
            text = self.analyser.pool.call(
                extraction_task, reply, self.base.text, cpu_seconds=_SEARCH_SECONDS
            ).decode()
        except ParserLimitError as error:
            return CandidateFailure(FailureKind.NO_CODE, f"The reply cannot be parsed: {error}.")
        analysis = self.analyser.analyse(Program(text))
        return Extracted(analysis.program, "the program, after a long search")


def extraction_task(reply: str, base: str) -> bytes:
    """Extract only; the answer is the program's text."""
    return extract_program(reply, base).program.data


def keeping_task(reply: str, base: str) -> bytes:
    """Apply the edits that fit; the answer is JSON."""
    kept = kept_edits(reply, base)
    misfits = [
        {"number": m.number, "old": m.edit.old, "why": m.why, "nearest": m.nearest}
        for m in kept.misfits
    ]
    return json.dumps({"text": kept.text, "fitted": kept.fitted, "misfits": misfits}).encode()


def reading_task(reply: str, base: str, policy: Policy) -> bytes:
    """Extract and analyse in the process of a parser pool; the answer is JSON."""
    try:
        found = extract_program(reply, base)
    except CandidateFailure as failure:
        return json.dumps({"message": failure.message, "detail": failure.detail}).encode()
    answer = {
        "program": found.program.text,
        "how": found.how,
        "analysis": analysis_fields(analyse(found.program, policy)),
    }
    return json.dumps(answer).encode()
