"""The mutation proposer: what it proposes, and how good it is at finding what pays."""

import math
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import pytest

from evocodec.codec.program import Program
from evocodec.codec.tunables import canonical
from evocodec.domain.candidate import Origin, Plan
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.search.mutation import MutationProposer
from evocodec.search.surrogate import SurrogateModel
from tests.support.archive_from_events import ArchiveFromEvents

SEED_MBPS = 14.0
SCREENS = 30
IN_FLIGHT = 2
SCREEN_NOISE = 0.005


class SyntheticSeed:
    """Fourteen marks whose effects on the bitrate are known: additive, and some interactions."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        lines = ['"""A program of marks alone."""']
        self._steps: dict[tuple[str, str], float] = {}
        self._bowls: dict[str, tuple[float, float, float, float]] = {}
        for place in range(14):
            name = f"M{place:02d}"
            if place < 10:
                values = [str(value) for value in range(rng.choice((2, 2, 2, 3, 3)))]
                lines.append(f"{name} = 0  # evolve: choice {' | '.join(values)}")
                for value in values[1:]:
                    self._steps[name, value] = math.log1p(rng.uniform(-0.12, 0.06))
            else:
                depth, best = -math.log1p(rng.uniform(-0.08, 0.0)), rng.uniform(-1.0, 1.0)
                if place < 12:
                    lines.append(f"{name} = 0.3  # evolve: float 0.1..0.5")
                    self._bowls[name] = (0.3, 0.2, best, depth)
                else:
                    lines.append(f"{name} = 3  # evolve: int 1..5")
                    self._bowls[name] = (3.0, 2.0, best, depth)
        self.source = "\n".join(lines) + "\n"
        names = list(self._steps)
        self._pairs = {
            (a, b): rng.gauss(0.0, 0.015)
            for index, a in enumerate(names)
            for b in names[index + 1 :]
            if a[0] != b[0] and rng.random() < 0.4
        }

    def log_ratio(self, values: Mapping[str, str]) -> float:
        """Log bitrate of an assignment against the seed's."""
        chosen = [item for item in values.items() if item in self._steps]
        total = sum(self._steps[item] for item in chosen)
        total += sum(self._pairs.get((a, b), 0.0) for a in chosen for b in chosen)
        for name, (centre, span, best, depth) in self._bowls.items():
            moved, width = (float(values[name]) - centre) / span, abs(best) + 0.3
            total += depth * (((moved - best) / width) ** 2 - (best / width) ** 2)
        return total

    def attainable(self) -> float:
        """The lowest log ratio that coordinate descent finds, from several starts."""
        tunables = Program(self.source).tunables
        levels = {
            mark.name: [canonical(choice) for choice in mark.choices]
            or [f"{mark.low + (mark.high - mark.low) * k / 20:.4g}" for k in range(21)]
            for mark in tunables
        }
        rng = random.Random(0)
        starts = [{mark.name: canonical(mark.value) for mark in tunables}]
        starts += [{name: rng.choice(values) for name, values in levels.items()} for _ in range(3)]
        return min(self._descend(start, levels) for start in starts)

    def _descend(self, values: dict[str, str], levels: Mapping[str, list[str]]) -> float:
        lowest, before = self.log_ratio(values), math.inf
        while lowest < before - 1e-12:
            before = lowest
            for name, options in levels.items():
                values[name] = min(options, key=lambda v: self.log_ratio({**values, name: v}))
            lowest = self.log_ratio(values)
        return lowest


Propose = Callable[[ArchiveFromEvents, int], tuple[str, Plan]]


def search(landscape: SyntheticSeed, propose: Propose, *, seed: int, screens: int) -> float:
    """Run a search with several candidates in flight; the true log ratio of the estimated best."""
    rng = random.Random(seed)
    told = ArchiveFromEvents(seed=seed)
    told.evaluated("c0001", landscape.source, SEED_MBPS)
    flying: list[str] = []
    for number in range(2, screens + 2):
        name = f"c{number:04d}"
        parent_id, plan = propose(told, number)
        told.plan(name, parent_id=parent_id, edits=plan.edits)
        told.write(name, told.programs[parent_id].edited(plan.edits))
        flying.append(name)
        if len(flying) == IN_FLIGHT:
            land(told, flying.pop(0), landscape, rng)
    while flying:
        land(told, flying.pop(0), landscape, rng)
    best = told.archive.best()
    assert best is not None
    return landscape.log_ratio(best.values)


def land(told: ArchiveFromEvents, name: str, landscape: SyntheticSeed, rng: random.Random) -> None:
    values = {t.name: canonical(t.value) for t in told.programs[name].tunables}
    measured = landscape.log_ratio(values) + rng.gauss(0.0, SCREEN_NOISE)
    told.screen(name, math.exp(measured), "c0001")


class Proposal(NamedTuple):
    parent_id: str
    plan: Plan


def proposal_of(mutation: MutationProposer, told: ArchiveFromEvents, number: int) -> Proposal:
    """What is proposed for the archive's best parent, as a run's planner asks for it."""
    parent = told.archive.select_parent()
    plan = mutation.propose(
        told.archive,
        candidate_id=f"c{number:04d}",
        number=number,
        parent_id=parent.candidate_id,
        parent=told.programs[parent.candidate_id],
    )
    return Proposal(parent.candidate_id, plan)


def planned(mutation: MutationProposer, told: ArchiveFromEvents, number: int) -> Proposal:
    """The same, recorded: it is under way from now on."""
    proposal = proposal_of(mutation, told, number)
    told.plan(f"c{number:04d}", parent_id=proposal.parent_id, edits=proposal.plan.edits)
    return proposal


def proposer(seed: int) -> Propose:
    return partial(proposal_of, MutationProposer(seed))


def uniform(seed: int) -> Propose:
    """Any one to four edits of the best parent, each value as likely as another."""

    def propose(told: ArchiveFromEvents, number: int) -> tuple[str, Plan]:
        rng = random.Random(f"{seed}/{number}")
        parent = told.archive.select_parent()
        tunables = told.programs[parent.candidate_id].tunables
        edits = []
        for mark in rng.sample(tunables, rng.randint(1, 4)):
            options = list(mark.choices) or [
                f"{mark.low + (mark.high - mark.low) * k / 6:.4g}" for k in range(7)
            ]
            fitting = [v for v in options if mark.accepts(v) and canonical(v) != mark.value]
            edits.append((mark.name, rng.choice(fitting)))
        return parent.candidate_id, Plan("random", (), tuple(edits))

    return propose


def test_thirty_screens_find_most_of_the_attainable_gain_and_far_more_than_random_edits() -> None:
    found, by_chance = [], []
    for seed in range(12):
        landscape = SyntheticSeed(seed)
        attainable = landscape.attainable()
        found.append(search(landscape, proposer(seed), seed=seed, screens=SCREENS) / attainable)
        by_chance.append(search(landscape, uniform(seed), seed=seed, screens=SCREENS) / attainable)
    mean, mean_by_chance = sum(found) / len(found), sum(by_chance) / len(by_chance)
    assert mean >= 0.85
    assert mean >= mean_by_chance + 0.1


def test_ten_screens_are_worth_a_ten_percent_adoption() -> None:
    gains = [
        search(SyntheticSeed(seed), proposer(seed), seed=seed, screens=10) for seed in range(10)
    ]
    assert sum(gain <= math.log(0.9) for gain in gains) >= 9


def archive_with(source: str) -> ArchiveFromEvents:
    told = ArchiveFromEvents()
    told.evaluated("c0001", source, SEED_MBPS)
    return told


def test_the_same_seed_archive_and_number_give_the_same_proposal() -> None:
    source = SyntheticSeed(3).source
    first = proposal_of(MutationProposer(7), archive_with(source), 2)
    assert proposal_of(MutationProposer(7), archive_with(source), 2) == first
    assert first.plan.origin is Origin.MUTATION
    assert 1 <= len(first.plan.edits) <= 4


def test_proposals_in_flight_are_all_different_and_spread_over_the_marks() -> None:
    told = archive_with(SyntheticSeed(3).source)
    mutation = MutationProposer(7)
    proposals = [planned(mutation, told, number) for number in range(2, 8)]
    assert len({proposal.plan.edits for proposal in proposals}) == 6
    assert len(told.archive.pending) == 6
    touched = [edit for proposal in proposals[:4] for edit in proposal.plan.edits]
    assert len(set(touched)) == len(touched)


def test_what_was_tried_or_failed_is_never_proposed_again() -> None:
    told = archive_with("A = 1  # evolve: choice 1 | 2\nB = 1  # evolve: choice 1 | 2 | 3\n")
    mutation = MutationProposer(1)
    seen: list[Mapping[str, str]] = [{"A": "1", "B": "1"}]

    def propose_until_nothing_is_left() -> None:
        for number in range(2, 20):
            name = f"c{number:04d}"
            parent_id, plan = planned(mutation, told, number)
            told.write(name, told.programs[parent_id].edited(plan.edits))
            values = {t.name: t.value for t in told.programs[name].tunables}
            assert values not in seen
            seen.append(values)
            if values["B"] == "3":
                told.fail(name)
            else:
                told.evaluate(name, SEED_MBPS + number)

    with pytest.raises(CandidateFailure, match="was tried") as raised:
        propose_until_nothing_is_left()
    assert raised.value.kind is FailureKind.NO_CODE
    assert 4 <= len(seen) <= 6


def test_a_value_that_failed_alone_is_not_tried_in_company() -> None:
    told = archive_with(SyntheticSeed(5).source)
    edits = (("M03", "1"),)
    told.plan("c0002", parent_id="c0001", edits=edits)
    told.write("c0002", told.programs["c0001"].edited(edits))
    told.fail("c0002")
    mutation = MutationProposer(1)
    later = [planned(mutation, told, number).plan.edits for number in range(3, 23)]
    assert all(("M03", "1") not in proposed for proposed in later)


def test_when_every_listed_value_was_tried_floats_are_moved_within_their_range() -> None:
    told = archive_with("X = 0.3  # evolve: float 0.1..0.5\n")
    mutation = MutationProposer(1)
    proposals = [planned(mutation, told, number) for number in range(2, 22)]
    values = [float(proposal.plan.edits[0][1]) for proposal in proposals]
    assert len(set(values)) == 20
    assert all(0.1 <= value <= 0.5 for value in values)


def test_a_parent_without_marks_is_a_candidate_failure_that_says_so() -> None:
    with pytest.raises(CandidateFailure, match="no marked constants"):
        proposal_of(MutationProposer(1), archive_with("x = 1\n"), 2)


def test_programs_with_other_marks_do_not_disturb_the_model() -> None:
    told = archive_with(SyntheticSeed(3).source)
    told.evaluated("c0002", "Z = 1  # evolve: int 0..3\n", 30.0)
    assert proposal_of(MutationProposer(1), told, 3).parent_id == "c0001"


def test_a_plan_says_what_it_changes_and_what_it_expects() -> None:
    source = "HALF = False  # evolve: choice False | True -- half-sample motion\n"
    plan = proposal_of(MutationProposer(1), archive_with(source), 2).plan
    assert plan.edits == (("HALF", "True"),)
    assert plan.steps == ("HALF: False → True (half-sample motion)",)
    assert "against c0001" in plan.hypothesis


def test_a_proposal_rests_on_the_newest_results_of_a_long_run_and_repeats_none_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evocodec.search.mutation._MOST_OBSERVATIONS", 5)
    measured: list[int] = []
    made = SurrogateModel.__init__

    def counted(model: SurrogateModel, *arguments: Any) -> None:
        made(model, *arguments)
        measured.append(model.measured)

    monkeypatch.setattr(SurrogateModel, "__init__", counted)
    told = archive_with("X = 0.3  # evolve: float 0.1..0.5\n")
    mutation = MutationProposer(1)
    tried = {"0.3"}
    for number in range(2, 14):
        name = f"c{number:04d}"
        parent_id, plan = planned(mutation, told, number)
        ((_, value),) = plan.edits
        assert value not in tried
        tried.add(value)
        told.write(name, told.programs[parent_id].edited(plan.edits))
        told.evaluate(name, SEED_MBPS + number)
    assert measured[:5] == [1, 2, 3, 4, 5]
    assert set(measured[5:]) == {5}
