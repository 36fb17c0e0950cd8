"""Full evaluations in the ledger, found by their candidate."""

from evocodec.domain.events import Evaluated, kinds_of
from graph.services import Services


def evaluation_of(services: Services, candidate_id: str) -> Evaluated | None:
    """Return the newest full evaluation of a candidate of this run."""
    ledger = services.journal.ledger
    newest = None
    kinds = kinds_of(Evaluated)
    for _, event in ledger.events(services.run_id, candidate_id=candidate_id, kinds=kinds):
        if isinstance(event, Evaluated):
            newest = event
    return newest
