"""State of a running search, computed from the events of the run alone."""

from collections.abc import Callable
from dataclasses import dataclass, field

from evocodec.domain.events import Event
from evocodec.domain.program import ProgramFacts
from evocodec.search.archive import Archive, SearchMode
from evocodec.search.champion import CurrentChampion
from evocodec.search.facts import FactsOfOldPrograms
from evocodec.search.novelty import Novelty
from evocodec.views.run_state import RunState


@dataclass(frozen=True, slots=True)
class SearchState:
    """The folds that decide what is tried next; any thread may read them.

    The journal feeds ``observe`` while a run goes on, the ledger feeds it when a run is resumed:
    the same events give the same state. Events must come in the ledger's order, each once, so
    one thread at a time may call ``observe``; the journal's lock sees to that.
    """

    archive: Archive
    novelty: Novelty = field(default_factory=Novelty)
    champion: CurrentChampion = field(default_factory=CurrentChampion)
    run: RunState = field(default_factory=RunState)

    def observe(self, event: Event) -> None:
        """Take in one event."""
        self.run.apply(event)
        self.archive.observe(event)
        self.novelty.observe(event)
        self.champion.observe(event)


def new_search_state(
    *,
    mode: SearchMode,
    seed: int,
    read_program: Callable[[str], str],
    derive: Callable[[str], ProgramFacts],
) -> SearchState:
    """Return the state of a run before its first event.

    ``read_program`` and ``derive`` are used for programs that an old ledger has no facts of.
    Programs of a model that are nearly alike count as the same: a mutation moves one constant.
    """
    facts_of = FactsOfOldPrograms(read_program, derive)
    return SearchState(
        archive=Archive(mode=mode, seed=seed, facts_of=facts_of),
        novelty=Novelty(near=mode == "model", facts_of=facts_of),
    )
