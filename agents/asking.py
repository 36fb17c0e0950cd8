"""One question to a model, asked once more with the model's own reply when that cannot be used."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from agents.opinions import Unreadable
from agents.reading.reasoning import answer_in
from agents.reading.refusals import is_refusal
from agents.templates import Prompt, Prompts
from evocodec.domain.vocabulary import CallOutcome, ModelRole
from evocodec.models.contract import ChatGateway, Reply

T = TypeVar("T")

_MOST_READ = 300_000  # characters
SECOND_ASKING = 1000
"""What is added to the number of an attempt in the name of the call that asks again."""


@dataclass(frozen=True, slots=True)
class RoleQuestion(Generic[T]):
    """A prompt, how its reply is read, and the form that is asked for when it cannot be."""

    role: ModelRole
    prompt: Prompt
    read: Callable[[str], T | Unreadable]
    form: str

    def outcome(self, text: str) -> CallOutcome:
        """Name what a reply is worth."""
        if not isinstance(self.read(text), Unreadable):
            return CallOutcome.OK
        refused = is_refusal(answer_in(text[-_MOST_READ:]).text)
        return CallOutcome.REFUSED if refused else CallOutcome.UNPARSABLE


def ask(
    gateway: ChatGateway,
    prompts: Prompts,
    question: RoleQuestion[T],
    *,
    candidate_id: str,
    attempt: int,
) -> T | Unreadable:
    """Ask, and ask once more with what did not fit; raises what the gateway raises."""
    prompt = question.prompt
    opinion: T | Unreadable = Unreadable("")
    for number in (attempt, attempt + SECOND_ASKING):
        reply = gateway.chat(
            question.role,
            prompt.messages,
            candidate_id=candidate_id,
            attempt=number,
            template_sha256=prompt.template_sha256,
            classify=question.outcome,
        )
        opinion = _opinion(reply, question)
        if not isinstance(opinion, Unreadable):
            break
        prompt = prompts.follow(
            question.prompt, reply.text, "again", why=opinion.why, form=question.form
        )
    return opinion


def _opinion(reply: Reply, question: RoleQuestion[T]) -> T | Unreadable:
    match reply.outcome:
        case CallOutcome.EMPTY:
            return Unreadable("it was empty")
        case CallOutcome.TRUNCATED:
            return Unreadable("it was cut off at the limit of its length; be brief")
        case _:
            return question.read(reply.text)
