"""Champion versions that the ledger vouches for: it recorded the commits itself."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from evocodec.domain.events import Adopted, kinds_of
from evocodec.store.ledger import Ledger

if TYPE_CHECKING:  # git's client takes its time to import
    from evocodec.champions.messages import Version


def vouched(ledger: Ledger, versions: "Iterable[Version]") -> frozenset[int]:
    """Return the numbers of versions that were adopted, with this very commit, in this ledger."""
    commits = {
        (event.version, event.commit)
        for run_id in {version.run_id for version in versions} & set(ledger.runs())
        for _, event in ledger.events(run_id, kinds=kinds_of(Adopted))
        if isinstance(event, Adopted)
    }
    return frozenset(v.version for v in versions if (v.version, v.commit) in commits)
