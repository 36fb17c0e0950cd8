"""Earlier runs of a workspace, as far as planners and the brief are told of them."""

from agents.requests import HistoryItem
from evocodec.domain.candidate import Origin, Verdict
from evocodec.domain.events import CandidateClosed, Event, Judged, Planned, kinds_of
from evocodec.domain.vocabulary import VerdictRule
from evocodec.rules.held_out import FAILED_MESSAGE
from evocodec.store.ledger import Ledger

_MOST_RUNS = 12
_BEST_OF_A_RUN = 3
_OF_THE_GATE = frozenset({VerdictRule.OVERFITTED, VerdictRule.NONDETERMINISTIC})


def best_of_other_runs(ledger: Ledger, run_id: str = "") -> tuple[HistoryItem, ...]:
    """Return the best candidates of the newest other runs, oldest first; baselines left out."""
    others = [name for name in ledger.runs() if name != run_id][:_MOST_RUNS]
    found: list[HistoryItem] = []
    for name in reversed(others):
        kinds = kinds_of(Planned, Judged, CandidateClosed)
        events = [event for _, event in ledger.events(name, kinds=kinds)]
        found += _best(name, events)
    return tuple(found)


def _best(run_id: str, events: list[Event]) -> list[HistoryItem]:
    plans = {e.candidate_id: e for e in events if isinstance(e, Planned)}
    verdicts = {e.candidate_id: e.verdict for e in events if isinstance(e, Judged)}
    items = [
        _item(run_id, event, plans[event.candidate_id], verdicts.get(event.candidate_id))
        for event in events
        if isinstance(event, CandidateClosed)
        and event.candidate_id in plans
        and plans[event.candidate_id].origin is not Origin.SEED
    ]
    worst = float("-inf")
    ranked = sorted(
        items, key=lambda i: worst if i.improvement_percent is None else i.improvement_percent
    )
    return ranked[-_BEST_OF_A_RUN:]


def _item(
    run_id: str, closed: CandidateClosed, plan: Planned, verdict: Verdict | None
) -> HistoryItem:
    secret = verdict is not None and verdict.rule in _OF_THE_GATE
    return HistoryItem(
        candidate_id=f"{run_id}/{closed.candidate_id}",
        status=closed.status.value,
        hypothesis=plan.hypothesis,
        edits=plan.edits,
        reason=FAILED_MESSAGE if secret else closed.reason,
        bitrate_mbps=verdict.bitrate_mbps if verdict else None,
        improvement_percent=verdict.improvement_percent if verdict else None,
        compared_with=verdict.compared_with if verdict else "",
    )
