"""The coder: turns a plan into a program, and repairs it after a failure."""

from dataclasses import dataclass
from typing import Protocol

from agents.extract import Extracted, KeptEdits
from agents.facts import describe_bitrate
from agents.opinions import one_line
from agents.reply_reader import ReplyReader
from agents.requests import CodeReply, CodeRequest, Feedback
from agents.templates import Prompt, Prompts, fenced
from evocodec.codec.program import Program
from evocodec.codec.tunables import TunableError
from evocodec.domain.candidate import Origin, Plan
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.vocabulary import CallOutcome, ModelRole
from evocodec.models.contract import ChatGateway, Reply
from evocodec.sandbox.review.analysis import Analyser

_PROGRAM_LIMIT = 400_000  # characters of a program that a coder is shown: no program is longer
_LONG_PROGRAM = 40_000  # characters: about 12,000 tokens, which few models answer with at once
_EDITS_ONLY = "Only with edits: the program is too long to be sent back as a whole."
_EITHER_FORM = (
    "With the whole program in one ```python fence, or, better for a small change, with edits."
)


class Coder(Protocol):
    """Writes programs."""

    def write(self, request: CodeRequest) -> CodeReply:
        """Return a program that parses; raises CandidateFailure (NO_CODE) when there is none."""


@dataclass(frozen=True, slots=True)
class MutationCoder:
    """Applies a plan's edits to the parent's text; it cannot repair anything."""

    def write(self, request: CodeRequest) -> CodeReply:
        """Edit the tunables; the seed's plan has no edits and gives the parent itself."""
        if request.feedback is not None:
            raise CandidateFailure(
                FailureKind.NO_CODE, "The mutation proposer cannot repair a program."
            )
        plan = request.plan
        if not plan.edits:
            return CodeReply(request.parent.program, "unchanged")
        try:
            program = request.parent.program.edited(plan.edits)
        except TunableError as error:
            raise CandidateFailure(
                FailureKind.NO_CODE, f"The edits do not fit the parent: {error}"
            ) from error
        note = ", ".join(f"{name} = {value}" for name, value in plan.edits)
        return CodeReply(program, note)


@dataclass(frozen=True, slots=True)
class ModelCoder:
    """Writes programs by a language model: a whole file, or edits of the shown program."""

    gateway: ChatGateway
    prompts: Prompts
    analyser: Analyser

    def write(self, request: CodeRequest) -> CodeReply:
        """Ask for a program, or for a repair with the real error."""
        if request.plan.origin is Origin.SEED and request.feedback is None:
            return CodeReply(request.parent.program, "unchanged")
        base = request.previous_program or request.parent.program
        prompt = self._prompt(request, base.text)
        for number, earlier in enumerate(request.replies):
            kept = KeptEdits(base.text)
            if earlier.is_whole:
                kept = ReplyReader(self.analyser, base).kept(earlier.text)
                base = Program(kept.text)
            if number == len(request.replies) - 1 and request.feedback is not None:
                prompt = self._again(prompt, earlier.text, request.feedback, kept)
        reader = ReplyReader(self.analyser, base)
        reply = self.gateway.chat(
            ModelRole.CODER,
            prompt.messages,
            candidate_id=request.candidate_id,
            attempt=request.attempt,
            template_sha256=prompt.template_sha256,
            classify=reader.outcome,
        )
        found = _program(reply, reader)
        note = one_line(f"{found.how}, by {reply.model}", 300)
        return CodeReply(found.program, note, reply.model)

    def _prompt(self, request: CodeRequest, base: str) -> Prompt:
        plan = fenced(describe_plan(request.plan), limit=12_000)
        program = fenced(base, limit=_PROGRAM_LIMIT, language="python")
        if request.previous_program is None:
            return self.prompts.render(
                "coder",
                plan=plan,
                program=program,
                answer_form=_EDITS_ONLY if len(base) > _LONG_PROGRAM else _EITHER_FORM,
                parent_id=request.parent.candidate_id,
                parent_bitrate=describe_bitrate(request.parent.bitrate_mbps),
                champion=request.champion,
            )
        return self.prompts.render(
            "coder_repair",
            plan=plan,
            program=program,
            whose="your previous attempt",
            attempt=str(request.attempt),
            feedback=describe_feedback(request.feedback) if request.feedback else "",
        )

    def _again(self, prompt: Prompt, reply: str, feedback: Feedback, kept: KeptEdits) -> Prompt:
        """Return the same question with the model's own reply and what did not fit of it."""
        misfits = [
            f"Edit {misfit.number}: {misfit.why}. The nearest lines that there are:\n"
            + fenced(misfit.nearest or "(none)", limit=3000, language="python")
            for misfit in kept.misfits
        ]
        why = "\n".join(misfits) or fenced(f"{feedback.message}\n{feedback.detail}".strip())
        if kept.fitted and kept.misfits:
            numbers = ", ".join(map(str, kept.fitted))
            now = f"Edits that fit are kept ({numbers}): send only the others again, corrected."
        else:
            now = "Answer again in one of the forms, complete."
        return self.prompts.follow(prompt, reply, "coder_again", why=why, what_now=now)


def describe_plan(plan: Plan) -> str:
    """A plan as text."""
    lines = [f"Hypothesis: {plan.hypothesis}"]
    lines += [f"{number}. {step}" for number, step in enumerate(plan.steps, start=1)]
    lines += [f"Set {name} = {value}" for name, value in plan.edits]
    return "\n".join(lines)


_HEADINGS = {
    "review": "The review refused it:",
    "failure": "It failed when it was run:",
    "duplicate": "It was not run, because it brings nothing new:",
    "no_code": "No program came of the last reply, and nothing was run:",
}


def describe_feedback(feedback: Feedback) -> str:
    """Return the real error as text; untrusted parts are fenced and limited in length."""
    parts = [
        _HEADINGS[feedback.kind],
        fenced(feedback.message, limit=2000),
    ]
    if feedback.findings:
        listed = [
            f"{f'line {finding.line}' if finding.line else 'whole file'}: "
            f"{finding.message} [{finding.rule}]"
            for finding in feedback.findings[:30]
        ]
        parts += ["Findings:", fenced("\n".join(listed), limit=6000)]
    if feedback.detail:
        parts += ["What it printed or raised (untrusted text):", fenced(feedback.detail)]
    return "\n\n".join(parts)


def _program(reply: Reply, reader: ReplyReader) -> Extracted:
    if reply.outcome is CallOutcome.EMPTY:
        raise CandidateFailure(FailureKind.NO_CODE, "The reply was empty.")
    if reply.outcome is CallOutcome.TRUNCATED:
        raise CandidateFailure(
            FailureKind.NO_CODE,
            "The reply was cut off at the limit of its length, so that it is not certain what it "
            "means. Answer with SEARCH/REPLACE edits, and be brief.",
            detail=reply.text[-2000:],
        )
    if reply.outcome is CallOutcome.REFUSED:
        raise CandidateFailure(
            FailureKind.NO_CODE,
            "The model declined to write a program.",
            detail=reply.text[:2000],
        )
    return reader.program(reply.text)
