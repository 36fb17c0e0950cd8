"""Analysis of a program: its facts, its marked constants and the static review, from one parse."""

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evocodec.codec.program import Program, Tunables, unparsed_facts
from evocodec.codec.tunables import Tunable
from evocodec.domain.candidate import Finding, Review
from evocodec.domain.program import ProgramFacts
from evocodec.domain.vocabulary import GateRule
from evocodec.sandbox.parser_pool import ParserLimitError, ParserPool
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.review.static_review import review_program

_UNREAD = frozenset({GateRule.SIZE, GateRule.REVIEW_LIMIT})
_REMEMBERED = 64  # programs: parents, the version to beat, and the candidates in flight
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Analysis:
    """A program that knows its facts and marked constants, and what the static gate says of it."""

    program: Program
    review: Review


def analyse(program: Program, policy: Policy) -> Analysis:
    """Parse a program once and derive everything; for texts that are trusted to be harmless."""
    review = review_program(program, policy)
    if any(finding.rule in _UNREAD for finding in review.findings):
        none = Tunables(error="the program is not read any further, so it has no tunables")
        return Analysis(Program(program.text, unparsed_facts(program), none), review)
    return Analysis(Program(program.text, program.facts, program.tunables_or_error), review)


class Analyser:
    """Analyses programs in processes of their own; any thread may call.

    What was analysed lately is remembered by SHA-256. A program that cannot be analysed within the
    limits gets a finding that says so, and facts that need no parsing.
    """

    def __init__(self, policy: Policy, pool: ParserPool) -> None:
        self.policy = policy
        self.pool = pool
        # Threads that look at once must not break the order of use.
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Analysis] = OrderedDict()

    def analyse(self, program: Program) -> Analysis:
        """Return the analysis; raises InfrastructureFailure when no process can be started."""
        with self._lock:
            known = self._known.get(program.sha256)
            if known is not None:
                self._known.move_to_end(program.sha256)
                return known
        try:
            answer = self.pool.call(analysis_task, program.text, self.policy)
        except ParserLimitError as error:
            found = unreadable(program, error)
        else:
            found = analysis_from(program.text, json.loads(answer))
        self.remember(found)
        return found

    def remember(self, analysis: Analysis) -> None:
        """Keep an analysis that was made together with something else."""
        with self._lock:
            self._known[analysis.program.sha256] = analysis
            self._known.move_to_end(analysis.program.sha256)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def analyse_apart(program: Program, policy: Policy) -> Analysis:
    """Analyse one program in a process that is started for it."""
    pool = ParserPool(processes=1)
    try:
        return Analyser(policy, pool).analyse(program)
    finally:
        pool.close()


def analysis_task(text: str, policy: Policy) -> bytes:
    """``analyse`` as another process answers it."""
    return json.dumps(analysis_fields(analyse(Program(text), policy))).encode()


def analysis_fields(analysis: Analysis) -> dict[str, Any]:
    """An analysis without the text, as JSON has it."""
    tunables = analysis.program.tunables_or_error
    return {
        "facts": asdict(analysis.program.facts),
        "tunables": [asdict(tunable) for tunable in tunables.found],
        "tunables_error": tunables.error,
        "findings": [asdict(finding) for finding in analysis.review.findings],
    }


def analysis_from(text: str, fields: Mapping[str, Any]) -> Analysis:
    """Undo ``analysis_fields``."""
    facts = fields["facts"]
    pairs = tuple((name, value) for name, value in facts["tunables"])
    tunables = tuple(Tunable(**{**t, "choices": tuple(t["choices"])}) for t in fields["tunables"])
    program = Program(
        text,
        ProgramFacts(**{**facts, "tunables": pairs}),
        Tunables(tunables, fields["tunables_error"]),
    )
    return Analysis(program, Review(tuple(map(_finding, fields["findings"]))))


def _finding(fields: Mapping[str, Any]) -> Finding:
    return Finding(GateRule(fields["rule"]), fields["message"], fields["line"])


def unreadable(program: Program, error: ParserLimitError) -> Analysis:
    """Return the facts of a program that could not be parsed: it is refused, with the reason."""
    _log.warning("program %s cannot be analysed: %s", program.sha256[:12], error)
    finding = Finding(GateRule.REVIEW_LIMIT, f"{error}; write it more simply")
    none = Tunables(error="the program cannot be parsed, so it has no tunables")
    return Analysis(Program(program.text, unparsed_facts(program), none), Review((finding,)))
