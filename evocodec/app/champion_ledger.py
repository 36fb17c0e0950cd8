"""Champion versions that the ledger vouches for: it recorded the commits itself."""

from typing import TYPE_CHECKING

from evocodec.domain.events import Adopted, kinds_of
from evocodec.store.ledger import Ledger

if TYPE_CHECKING:  # git's client takes its time to import
    from evocodec.champions.repository import ChampionRepository


def vouched_versions(ledger: Ledger, champions: "ChampionRepository") -> frozenset[int]:
    """Return the numbers of versions that were adopted, with this very commit, in this ledger.

    A commit's hash covers its figures. Of any other version the repository alone says what it is,
    and a repository may come from anybody.
    """
    versions = champions.versions()
    commits = {
        (event.version, event.commit)
        for run_id in {version.run_id for version in versions} & set(ledger.runs())
        for _, event in ledger.events(run_id, kinds=kinds_of(Adopted))
        if isinstance(event, Adopted)
    }
    return frozenset(v.version for v in versions if (v.version, v.commit) in commits)
