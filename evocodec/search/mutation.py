"""The built-in proposer: changes tunables, chosen by Thompson sampling.

It is no language model and never poses as one. It makes a run work on a bare machine, and is the
baseline that a model has to beat.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evocodec.codec.program import Program
from evocodec.codec.tunables import Tunable, canonical
from evocodec.domain.candidate import Origin, Plan
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.search.archive import Archive, ArchiveEntry
from evocodec.search.surrogate import Observation, Prior, SurrogateModel, Vector

Edits = tuple[tuple[str, str], ...]

_TRIES = 24  # posterior draws before the proposer falls back on enumeration
_SWEEP = 8  # results during which untried values are tested in groups, before draws spread out
_SWEEP_SPREAD, _SEARCH_SPREAD = 0.05, 0.5  # of Thompson sampling's 1, which is for longer runs
_MOST_OBSERVATIONS = 400  # the newest: what a proposal costs grows with their cube
_WORTH_ADDING = 0.002  # an edit that promises less than 0.2 % is left out


@dataclass(frozen=True, slots=True)
class _ProposalContext:
    """Inputs of one proposal: the parent, its tunables, and the relatives' results."""

    parent_id: str
    parent: Mapping[str, str]
    tunables: tuple[Tunable, ...]
    relatives: tuple[ArchiveEntry, ...]
    taken: frozenset[frozenset[tuple[str, str]]]
    busy: frozenset[tuple[str, str]]
    surrogate: SurrogateModel


class MutationProposer:
    """Proposes edits; the same seed, archive and candidate number give the same proposal.

    A posterior draw of the landscape says what each edit would bring if it were true; the edits
    that help most under that draw are made together, at most ``max_edits`` of them. The first
    draws keep near the mean, which sweeps through the untried values in groups and keeps what
    helped; later ones spread as Thompson sampling does, and find what interactions hid.
    """

    def __init__(self, seed: int, *, max_edits: int = 4, prior: Prior | None = None) -> None:
        if max_edits < 1:
            raise ValueError(f"max_edits is {max_edits}; a proposal needs at least one edit")
        self._seed = seed
        self._max_edits = max_edits
        self._prior = prior or Prior()

    def propose(
        self,
        archive: Archive,
        *,
        candidate_id: str,
        number: int,
        parent_id: str,
        parent: Program,
    ) -> Plan:
        """Propose edits of a given parent that are neither known nor pending in the archive.

        They are pending from when the plan is recorded: a caller that proposes for several
        candidates must record each plan before the next proposal.

        Raises CandidateFailure (NO_CODE) for a parent without tunables, or with none left to try.
        """
        tunables = parent.tunables
        if not tunables:
            raise CandidateFailure(
                FailureKind.NO_CODE,
                "The parent has no marked constants (# evolve: ...) that could be edited.",
            )
        context = self._context(archive, candidate_id, parent_id, tunables)
        return self._plan(context, self._choose(context, number))

    def _context(
        self, archive: Archive, candidate_id: str, parent_id: str, tunables: tuple[Tunable, ...]
    ) -> _ProposalContext:
        parent = {tunable.name: canonical(tunable.value) for tunable in tunables}
        entries, under_way = archive.snapshot()
        relatives = tuple(e for e in entries if e.values.keys() == parent.keys())
        ranked = [entry for entry in relatives if entry.ranked]
        baseline = ranked[0].values if ranked else parent
        zero = ranked[0].estimated_bitrate_mbps if ranked else None
        observations = [
            Observation(e.values, math.log(e.estimated_bitrate_mbps / zero), e.full)
            for e in ranked[-_MOST_OBSERVATIONS:]
            if e.estimated_bitrate_mbps is not None and zero is not None
        ]
        pending = [values for key, values in under_way.items() if key != candidate_id]
        taken = frozenset(
            frozenset(values.items())
            for values in (*(entry.values for entry in relatives), *pending, parent)
        )
        busy = frozenset(item for values in pending for item in values.items())
        surrogate = SurrogateModel(tunables, baseline, observations, self._prior)
        return _ProposalContext(parent_id, parent, tunables, relatives, taken, busy, surrogate)

    def _choose(self, context: _ProposalContext, number: int) -> Edits:
        rng = np.random.default_rng([self._seed, number])
        options = _options(context.tunables, context.parent)
        odds = _odds(context.relatives)
        refused = _failed_sets(context.relatives)
        free = [edit for edit in options if edit not in context.busy]
        spread = _SWEEP_SPREAD if context.surrogate.measured <= _SWEEP else _SEARCH_SPREAD
        for attempt in range(_TRIES):
            # Values that are being measured tell nothing new: others first, then any.
            listed = free if attempt < _TRIES // 2 else options
            weights = context.surrogate.sample(rng, spread=max(spread, attempt / _TRIES))
            edits = self._climb(context, weights, listed, odds)
            if edits and _is_new(context, edits, refused):
                return edits
        for edit in sorted(options, key=lambda edit: -odds.get(edit, 1.0)):
            if _is_new(context, (edit,), refused):
                return (edit,)
        return self._perturb(context, random.Random(f"{self._seed}/{number}"))

    def _climb(
        self,
        context: _ProposalContext,
        weights: Vector,
        options: Sequence[tuple[str, str]],
        odds: Mapping[tuple[str, str], float],
    ) -> Edits:
        """Add the best edit under these weights, again and again, while it pays."""
        current = dict(context.parent)
        level = float(context.surrogate.predict(weights, [current])[0])
        edits: dict[str, str] = {}
        while len(edits) < self._max_edits:
            open_options = [edit for edit in options if edit[0] not in edits]
            if not open_options:
                break
            values = context.surrogate.predict(
                weights, [{**current, name: value} for name, value in open_options]
            )
            chances = np.array([odds.get(edit, 1.0) for edit in open_options])
            gains = (level - values) * chances - 0.05 * (1.0 - chances)
            best = int(np.argmax(gains))
            if gains[best] < _WORTH_ADDING:
                break
            name, value = open_options[best]
            edits[name] = current[name] = value
            level = float(values[best])
        return tuple(edits.items())

    def _perturb(self, context: _ProposalContext, rng: random.Random) -> Edits:
        """Everything listed was tried: move numbers a little."""
        floats = [tunable for tunable in context.tunables if tunable.kind == "float"]
        for _ in range(_TRIES if floats else 0):
            chosen = rng.sample(floats, k=min(len(floats), rng.choice((1, 1, 2))))
            edits = tuple(
                (tunable.name, _near(tunable, context.parent[tunable.name], rng))
                for tunable in chosen
            )
            if _is_new(context, edits, ()):
                return edits
        raise CandidateFailure(
            FailureKind.NO_CODE,
            f"Every edit of the marked constants of {context.parent_id} was tried.",
        )

    def _plan(self, context: _ProposalContext, edits: Edits) -> Plan:
        mean, deviation = context.surrogate.posterior(
            {**context.parent, **dict(edits)}, context.parent
        )
        described = {tunable.name: tunable.description for tunable in context.tunables}
        steps = tuple(
            f"{name}: {context.parent[name]} → {value}"
            + (f" ({described[name]})" if described[name] else "")
            for name, value in edits
        )
        seen = sum(entry.ranked for entry in context.relatives)
        hypothesis = (
            f"{', '.join(f'{name} = {value}' for name, value in edits)}: expected "
            f"{100 * math.expm1(mean):+.1f} % bits (±{100 * deviation:.1f}) against "
            f"{context.parent_id}, by the effects seen in {seen} measured relatives."
        )
        return Plan(hypothesis, steps, edits, Origin.MUTATION)


def _options(tunables: Sequence[Tunable], parent: Mapping[str, str]) -> list[tuple[str, str]]:
    """Every possible single edit: the other choices, and a few levels of each number."""
    return [
        (tunable.name, value)
        for tunable in tunables
        for value in _values(tunable)
        if value != parent[tunable.name]
    ]


def _values(tunable: Tunable) -> Iterator[str]:
    if tunable.kind == "choice":
        yield from dict.fromkeys(canonical(choice) for choice in tunable.choices)
    elif tunable.kind == "int" and tunable.high - tunable.low < 9:
        yield from map(str, range(int(tunable.low), int(tunable.high) + 1))
    else:
        levels = np.linspace(tunable.low, tunable.high, 7)
        yield from dict.fromkeys(_format_value(tunable, float(level)) for level in levels)


def _format_value(tunable: Tunable, number: float) -> str:
    bounded = min(max(number, tunable.low), tunable.high)
    return str(round(bounded)) if tunable.kind == "int" else canonical(f"{bounded:.4g}")


def _near(tunable: Tunable, value: str, rng: random.Random) -> str:
    moved = float(value) + rng.gauss(0.0, 0.08 * (tunable.high - tunable.low))
    spelled = _format_value(tunable, moved)
    return spelled if tunable.accepts(spelled) else canonical(tunable.value)


def _odds(relatives: Sequence[ArchiveEntry]) -> dict[tuple[str, str], float]:
    """Probability that each value runs, from its failures (blame is shared within a proposal)."""
    failures: dict[tuple[str, str], float] = {}
    successes: dict[tuple[str, str], int] = {}
    for entry in relatives:
        if entry.failed:
            for edit in entry.edits:
                key = (edit[0], canonical(edit[1]))
                failures[key] = failures.get(key, 0.0) + 1.0 / len(entry.edits)
        elif entry.ranked:
            for key in entry.values.items():
                successes[key] = successes.get(key, 0) + 1
    return {
        key: 1.0 - blame / (blame + successes.get(key, 0) + 0.5) for key, blame in failures.items()
    }


def _failed_sets(relatives: Sequence[ArchiveEntry]) -> tuple[frozenset[tuple[str, str]], ...]:
    """Edits that failed together: no later proposal may hold all of them again."""
    return tuple(
        frozenset((name, canonical(value)) for name, value in entry.edits)
        for entry in relatives
        if entry.failed and entry.edits
    )


def _is_new(
    context: _ProposalContext, edits: Edits, refused: Sequence[frozenset[tuple[str, str]]]
) -> bool:
    values = frozenset({**context.parent, **dict(edits)}.items())
    return values not in context.taken and not any(failed <= values for failed in refused)
