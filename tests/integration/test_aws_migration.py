"""A local laboratory moved to DynamoDB and S3 and back, by the command that people type."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evocodec.app import Laboratory
from evocodec.cli.main import application
from evocodec.config import load_settings
from evocodec.domain.events import CandidateOpened
from evocodec.views.experiment_record import experiment_record
from tests.support import sample_run as story
from tests.support.aws_fault_proxy import PASS, Answer, Door, door_to
from tests.support.aws_servers import REGION, fresh_name, moto_server

APP = application()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def door(server: str) -> Iterator[Door]:
    with door_to(server) as opened:
        yield opened


@pytest.fixture
def settings(door: Door, tmp_path: Path) -> dict[str, Any]:
    name = fresh_name("lab")
    return {
        "store.region": REGION,
        "store.dynamodb_endpoint_url": door.url,
        "store.s3_endpoint_url": door.url,
        "store.bucket": name,
        "store.ledger_table": f"{name}-ledger",
        "store.records_table": f"{name}-records",
        "store.retry_seconds": 1.0,
    }


def typed(workspace: Path, settings: dict[str, Any], *words: str, code: int = 0) -> Any:
    """Run ``evocodec store …``; returns its JSON."""
    sets = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
    done = CliRunner().invoke(APP, ["-w", str(workspace), *sets, "--json", "store", *words])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def fill(workspace: Path) -> None:
    """A laboratory with the beginnings of two runs, their programs, and a blob of no event."""
    with Laboratory.open(load_settings(flags={"workspace": workspace})) as lab:
        for run_id, events in (
            ("old", story.fruitless("old")[:12]),
            ("new", story.finished("new")[:25]),
        ):
            for event in events:
                assert lab.ledger.record(event)
            for opened in (event for event in events if isinstance(event, CandidateOpened)):
                of = [event for event in events if event.candidate_id == opened.candidate_id]
                lab.records.put(experiment_record(of))
            assert run_id in lab.ledger.runs()
        for number in range(1, 6):
            lab.blobs.put(story.program(number).encode())
        lab.blobs.put(b"named by no event")


def content(workspace: Path, settings: dict[str, Any], backend: str) -> dict[str, Any]:
    """Everything a laboratory keeps, as it is read."""
    flags = {**settings, "workspace": workspace, "store.backend": backend}
    with Laboratory.open(load_settings(flags=flags)) as lab:
        runs = lab.ledger.runs()
        return {
            "runs": runs,
            "events": {run: [event for _, event in lab.resolver.events(run)] for run in runs},
            "records": lab.records.latest(100),
            "blobs": {name: lab.blobs.get(name) for name in lab.blobs.names()},  # type: ignore[attr-defined]
        }


def test_a_laboratory_moved_to_aws_and_back_is_the_same(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    fill(home)
    before = content(home, settings, "sqlite")
    assert before["runs"] == ("new", "old")
    typed(home, settings, "tables", code=1)
    made = typed(home, settings, "tables", "--create")["places"]
    assert [place["state"] for place in made] == ["made"] * 3
    counted = typed(home, settings, "migrate", "--to", "dynamodb", "--dry-run")
    assert content(home, settings, "dynamodb")["events"] == {}
    done = typed(home, settings, "migrate", "--to", "dynamodb")
    assert done["moved"] == counted["moved"]
    assert done["copied"] == counted["copied"] > 0
    again = typed(home, settings, "migrate", "--to", "dynamodb")
    assert again["copied"] == 0
    assert [moved["found"] for moved in again["moved"]] == [m["found"] for m in done["moved"]]
    assert content(home, settings, "dynamodb") == before
    typed(elsewhere, settings, "migrate", "--from", "dynamodb")
    assert content(elsewhere, settings, "sqlite") == before
    assert content(home, settings, "sqlite") == before


def test_a_migration_that_is_cut_off_goes_on_where_it_stopped(
    settings: dict[str, Any], door: Door, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    fill(home)
    typed(home, settings, "tables", "--create")
    words = ("migrate", "--to", "dynamodb", "--run", "old")
    writes = [Answer(500, "InternalServerError")] * 60
    door.harm("TransactWriteItems", PASS, PASS, *writes)
    sets = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
    done = CliRunner().invoke(APP, ["-w", str(home), *sets, "store", *words])
    assert done.exit_code == 1
    assert "cannot record an event" in done.output
    door.heal()
    there = content(home, settings, "dynamodb")["events"]["old"]
    mine = content(home, settings, "sqlite")["events"]["old"]
    assert there == mine[: len(there)]
    assert 0 < len(there) < len(mine)
    rest = typed(home, settings, *words)
    (run,) = [moved for moved in rest["moved"] if moved["kind"] == "run"]
    assert run["copied"] == len(mine) - len(there)
    after = content(home, settings, "dynamodb")
    assert after["runs"] == ("old",)
    assert after["events"]["old"] == mine
    assert {record["run_id"] for record in after["records"]} == {"old"}
    assert b"named by no event" not in after["blobs"].values()


def test_a_run_that_went_on_in_both_places_is_not_touched(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    for name, number in (("one", 1), ("two", 2)):
        with Laboratory.open(load_settings(flags={"workspace": tmp_path / name})) as lab:
            for candidate in ("c0001", f"c000{number + 1}"):
                lab.ledger.record(
                    CandidateOpened(
                        run_id="run", at="t", candidate_id=candidate, parent_id="", number=1
                    )
                )
    typed(tmp_path / "one", settings, "tables", "--create")
    typed(tmp_path / "one", settings, "migrate", "--to", "dynamodb")
    sets = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
    words = ["-w", str(tmp_path / "two"), *sets, "store", "migrate", "--to", "dynamodb"]
    done = CliRunner().invoke(APP, words)
    assert done.exit_code == 2
    assert "differs from event 2" in " ".join(done.output.split())
    kept = content(tmp_path / "one", settings, "dynamodb")
    assert kept == content(tmp_path / "one", settings, "sqlite")


def test_events_of_a_newer_version_are_not_left_behind_in_silence(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    fill(home)
    with closing(sqlite3.connect(home / "ledger.sqlite")) as raw:
        raw.execute(
            "INSERT INTO events (run_id, key, candidate_id, kind, at, body) "
            "VALUES ('old', 'c1/dreamt', 'c1', 'dreamt', 't', '{\"kind\": \"dreamt\"}')"
        )
        raw.commit()
    typed(home, settings, "tables", "--create")
    sets = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
    words = ["-w", str(home), *sets, "store", "migrate", "--to", "dynamodb"]
    done = CliRunner().invoke(APP, words)
    assert done.exit_code == 2
    assert "old has 1 events of kinds" in " ".join(done.output.split())


def test_a_check_says_what_works_and_what_does_not(
    settings: dict[str, Any], door: Door, tmp_path: Path
) -> None:
    settings["store.backend"] = "dynamodb"
    missing = typed(tmp_path, settings, "check", code=1)
    assert [check["state"] for check in missing["checks"]] == ["ok", "fail", "fail"]
    assert "store tables --create" in missing["checks"][1]["fix"]
    typed(tmp_path, settings, "tables", "--create")
    good = typed(tmp_path, settings, "check")
    assert good["ok"]
    assert "from env" in good["checks"][0]["detail"]
    assert "secret" not in json.dumps(good).lower()
    door.harm("PutItem", Answer(400, "AccessDeniedException", "perform: dynamodb:PutItem"))
    refused = typed(tmp_path, settings, "check", code=1)
    assert "dynamodb:PutItem" in refused["checks"][1]["detail"]
    local = typed(tmp_path, {}, "check")
    assert local["checks"][0]["name"] == "stores"


@pytest.mark.parametrize("words", [[], ["--to", "sqlite", "--from", "sqlite"]])
def test_a_migration_wants_a_direction(tmp_path: Path, words: list[str]) -> None:
    done = CliRunner().invoke(APP, ["-w", str(tmp_path), "store", "migrate", *words])
    assert done.exit_code == 2
    assert "--to dynamodb" in done.output


def test_a_migration_wants_a_bucket(tmp_path: Path) -> None:
    words = ["-w", str(tmp_path), "store", "migrate", "--to", "dynamodb"]
    done = CliRunner().invoke(APP, words)
    assert done.exit_code == 2
    assert "store.bucket" in done.output
