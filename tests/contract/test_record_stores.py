"""What every record store promises; the suite runs over each backend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evocodec.store.file_records import FileRecordStore
from evocodec.store.memory import MemoryRecordStore
from evocodec.store.records import RecordStore
from evocodec.views.experiment_record import experiment_record
from tests.unit.test_experiment_record import adopted_events, evolution, record_at


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from tests.support.aws_servers import moto_server

    with moto_server() as url:
        yield url


@pytest.fixture(params=["memory", "files", "dynamodb", "dynamodb-local"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> RecordStore:
    match request.param:
        case "memory":
            return MemoryRecordStore()
        case "files":
            return FileRecordStore(tmp_path / "r")
    from tests.support.aws_servers import dynamo_records, fresh_name

    engine = "server" if request.param == "dynamodb" else "real_dynamodb"
    return dynamo_records(request.getfixturevalue(engine), fresh_name("records"))


def test_a_record_comes_back(records: RecordStore) -> None:
    record = experiment_record(adopted_events())
    records.put(record)
    assert records.get(record["experiment_id"]) == record
    assert records.get("real_exp_0") is None


def test_the_latest_records_come_newest_first(records: RecordStore) -> None:
    assert records.latest(20) == ()
    for second in (7, 3, 9, 5):
        records.put(record_at(second))
    found = [record["timestamp"][-6:] for record in records.latest(3)]
    assert found == ["09.000", "07.000", "05.000"]
    assert records.latest(0) == ()


def test_putting_again_replaces(records: RecordStore) -> None:
    records.put(experiment_record(adopted_events()[:3]) | {"experiment_id": "x"})
    records.put(experiment_record(adopted_events()) | {"experiment_id": "x"})
    (record,) = records.latest(5)
    assert evolution(record)["adopted"] is True


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 129])
def test_ids_that_could_leave_the_folder_are_refused(records: RecordStore, name: str) -> None:
    with pytest.raises(ValueError, match="not an experiment id"):
        records.get(name)
