"""What every blob store promises; the suite runs over each backend."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.store.blobs import BlobStore, FileBlobStore
from evocodec.store.memory import MemoryBlobStore


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from tests.support.aws_servers import moto_server

    with moto_server() as url:
        yield url


@pytest.fixture(params=["memory", "files", "s3", "s3-parts", "localbucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    match request.param:
        case "memory":
            return MemoryBlobStore()
        case "files":
            return FileBlobStore(tmp_path / "blobs")
    from tests.support.aws_servers import fresh_name, s3_blobs

    # Parts of 5 MiB are the smallest that S3 takes; the last one may be smaller.
    part_bytes = 5 << 20 if request.param == "s3-parts" else 16 << 20
    place = "persisting_s3" if request.param == "localbucket" else "server"
    url: str = request.getfixturevalue(place)
    return s3_blobs(url, fresh_name("blobs"), part_bytes=part_bytes)


@pytest.mark.parametrize(
    "data", [b"", b"program", bytes(range(256)) * 4096, bytes(range(255)) * 24_000]
)
def test_bytes_come_back_under_their_sha256(blobs: BlobStore, data: bytes) -> None:
    name = blobs.put(data)
    assert name == hashlib.sha256(data).hexdigest()
    assert blobs.get(name) == data
    assert blobs.has(name)


def test_putting_again_changes_nothing(blobs: BlobStore) -> None:
    assert blobs.put(b"x") == blobs.put(b"x")
    assert blobs.get(blobs.put(b"x")) == b"x"


def test_a_missing_blob_is_named(blobs: BlobStore) -> None:
    name = hashlib.sha256(b"never put").hexdigest()
    assert not blobs.has(name)
    with pytest.raises(UserError, match=f"no blob {name}"):
        blobs.get(name)


@pytest.mark.parametrize("name", ["", "abc", "../../etc/passwd", "A" * 64, "0" * 63 + "\n"])
def test_names_that_are_no_hash_are_refused(blobs: BlobStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a blob name"):
        blobs.get(name)
    with pytest.raises(ValueError, match="not a blob name"):
        blobs.has(name)


def test_writers_of_the_same_bytes_agree(blobs: BlobStore) -> None:
    data = bytes(100_000)
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(blobs.put(data))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 8
    assert len(set(names)) == 1
    assert blobs.get(names[0]) == data


def stored_file(folder: Path) -> Path:
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    return path


def test_a_damaged_file_is_noticed_and_repaired_by_putting_again(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    name = blobs.put(b"program")
    stored_file(tmp_path).write_bytes(b"progrAm")
    with pytest.raises(InfrastructureFailure, match="damaged"):
        blobs.get(name)
    blobs.put(b"program")
    assert blobs.get(name) == b"program"


def test_nothing_but_the_blob_is_left_in_the_folder(tmp_path: Path) -> None:
    name = FileBlobStore(tmp_path).put(b"program")
    assert stored_file(tmp_path) == tmp_path / name[:2] / name[2:]


def test_a_folder_that_cannot_be_written_is_an_infrastructure_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InfrastructureFailure, match="cannot be written"):
        FileBlobStore(tmp_path / "file").put(b"x")


def test_another_store_on_the_same_folder_sees_the_blob(tmp_path: Path) -> None:
    name = FileBlobStore(tmp_path).put(b"x")
    assert FileBlobStore(tmp_path).get(name) == b"x"
