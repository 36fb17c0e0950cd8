"""Toy runs on DynamoDB and S3 that keep what they are given, and that die in the middle."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evocodec.app.runs import perform_run
from evocodec.app.store_admin import migrate_stores
from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.events import Event
from evocodec.views.run import RunView
from tests.support.persistent_aws import Cloud, persisting_cloud
from tests.support.persisting_servers import Server
from tests.support.toy_laboratory import local_laboratory


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with persisting_cloud(tmp_path_factory.mktemp("cloud")) as servers:
        yield servers


class Killer:
    """Kills servers at the first event of a kind; starts them again after some seconds, or not."""

    def __init__(self, servers: list[Server], kind: str, after_seconds: float | None) -> None:
        self.servers = servers
        self.kind = kind
        self.after_seconds = after_seconds
        self.restarting: threading.Timer | None = None
        self.done = False

    def __call__(self, event: Event) -> None:
        if event.kind != self.kind or self.done:
            return
        self.done = True
        for server in self.servers:
            server.kill()
        if self.after_seconds is not None:
            self.restarting = threading.Timer(self.after_seconds, self.restart)
            self.restarting.start()

    def restart(self) -> None:
        for server in self.servers:
            server.start()


def check_nothing_lost_or_doubled(lab: Any, view: RunView, candidates: int) -> None:
    events = [event for _, event in lab.resolver.events()]
    keys = [event.key for event in events]
    assert len(keys) == len(set(keys))
    assert [c.candidate_id for c in view.candidates] == [
        f"c{number:04}" for number in range(1, candidates + 1)
    ]
    assert all(not candidate.running for candidate in view.candidates)
    assert all(lab.records.get(c.experiment_id) for c in view.candidates)
    sources = {event.source_sha256 for event in events if event.kind == "code_written"}
    assert all(lab.blobs.get(sha256) for sha256 in sources)
    versions = [event for event in events if event.kind == "adopted"]
    assert [event.version for event in versions] == list(range(1, len(versions) + 1))


def test_a_run_outlives_the_death_of_both_stores(cloud: Cloud, tmp_path: Path) -> None:
    killer = Killer([cloud.dynamodb, cloud.s3], "point_measured", after_seconds=0.5)
    changes = cloud.settings(run__candidates=3, store__retry_seconds=90.0)
    with local_laboratory(tmp_path / "w", **changes) as lab:
        view = perform_run(lab, listeners=[killer])
        assert killer.restarting is not None, [c.reason for c in view.candidates]
        killer.restarting.join()
        assert view.outcome == "finished"
        check_nothing_lost_or_doubled(lab, view, 3)
        assert lab.ledger.runs()[0] == view.run_id
    assert not (tmp_path / "w" / "ledger.sqlite").exists()
    assert not (tmp_path / "w" / "blobs").exists()


def test_a_run_whose_store_stays_away_ends_and_resumes(cloud: Cloud, tmp_path: Path) -> None:
    killer = Killer([cloud.dynamodb], "screened", after_seconds=None)
    changes = cloud.settings(run__candidates=3, store__retry_seconds=1.0)
    with local_laboratory(tmp_path / "w", **changes) as lab:
        with pytest.raises(InfrastructureFailure, match=r"did not do it in 1 s.*--resume"):
            perform_run(lab, listeners=[killer])
        assert killer.done
        killer.restart()
        before = list(lab.resolver.events())
    with local_laboratory(tmp_path / "w", **changes) as lab:
        view = perform_run(lab, resume="latest")
        assert view.outcome == "finished"
        assert view.resumed == 1
        assert list(lab.resolver.events())[: len(before)] == before
        check_nothing_lost_or_doubled(lab, view, 3)


def test_a_run_begun_on_files_goes_on_in_the_cloud(cloud: Cloud, tmp_path: Path) -> None:
    stop = threading.Event()

    def stop_at(event: Event) -> None:
        if event.candidate_id == "c0002" and event.kind == "screened":
            stop.set()

    changes = cloud.settings(run__candidates=3, run__slots=1)
    with local_laboratory(tmp_path / "w", **changes | {"store__backend": "sqlite"}) as lab:
        begun = perform_run(lab, listeners=[stop_at], stop=stop)
        assert begun.outcome == "interrupted"
        before = [event for _, event in lab.resolver.events()]
        migrate_stores(lab.settings, lab.workspace, origin="sqlite", runs=(begun.run_id,))
    with local_laboratory(tmp_path / "w", **changes) as lab:
        view = perform_run(lab, resume=begun.run_id)
        assert view.outcome == "finished"
        assert [event for _, event in lab.resolver.events(begun.run_id)][: len(before)] == before
        check_nothing_lost_or_doubled(lab, view, 3)
