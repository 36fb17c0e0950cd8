"""Clips in S3, from a real HTTP server: what is fetched, what is kept, and what is said."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto.server", reason="moto's server is not installed")

from evocodec.domain.errors import InfrastructureFailure, SourceError
from evocodec.video import s3_source
from evocodec.video.clip_spec import parse_clip
from evocodec.video.clips import Clip, default_clips, load_clip
from evocodec.video.s3_client import client_of
from evocodec.video.s3_source import RemoteObject, upload
from evocodec.video.sources import check_source
from evocodec.video.y4m import pack_frame, write_y4m
from tests.support.s3_server import BUCKET, Door, reading_from, running_store, with_credentials

CARPHONE, CITY, _ = default_clips()
RAW = "raw=176x144,30000/1001"


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[Door, Any]]:
    with running_store() as running:
        yield running


@pytest.fixture
def door(
    store: tuple[Door, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Door]:
    with_credentials(monkeypatch)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    door = store[0]
    for kept in (door.requests, door.refuse, door.cut, door.flip):
        kept.clear()
    with reading_from(door, tmp_path / "cache"):
        yield door


@pytest.fixture(scope="module")
def carphone(store: tuple[Door, Any], tmp_path_factory: pytest.TempPathFactory) -> Clip:
    clip = load_clip(CARPHONE)
    folder = tmp_path_factory.mktemp("media")
    write_y4m(folder / "carphone.y4m", clip.stream, clip.frames)
    (folder / "carphone.yuv").write_bytes(b"".join(pack_frame(frame) for frame in clip.frames))
    for name in ("carphone.y4m", "carphone.yuv"):
        store[1].upload_file(str(folder / name), BUCKET, name)
    store[1].upload_file(CITY.path, BUCKET, "city.mkv")
    return clip


@pytest.mark.parametrize("name", ["carphone.yuv", "carphone.y4m"])
def test_only_the_frames_asked_for_are_fetched(door: Door, carphone: Clip, name: str) -> None:
    raw = f",{RAW}" if name.endswith("yuv") else ""
    part = load_clip(parse_clip(f"s3://{BUCKET}/{name}@4-7{raw}"))
    assert part.sha256 == carphone_part(carphone, 4, 7)
    size = carphone.stream.frame_bytes
    assert sum(last - first for first, last in door.ranges()) < 3.2 * size
    door.requests.clear()
    assert load_clip(parse_clip(f"s3://{BUCKET}/{name}@4-7{raw}")).sha256 == part.sha256
    assert [method for method, _, _ in door.requests] == ["HEAD"]
    load_clip(parse_clip(f"s3://{BUCKET}/{name}@6-9{raw}"))
    assert sum(last - first for first, last in door.ranges()) < 2.1 * size


def carphone_part(clip: Clip, start: int, end: int) -> str:
    path = parse_clip(f"{CARPHONE.path}@{start}-{end}")
    assert path.path == clip.source.path
    return load_clip(path).sha256


def test_scaling_y4m_from_the_store_gives_what_the_file_gives(
    door: Door, carphone: Clip, tmp_path: Path
) -> None:
    local = tmp_path / "carphone.y4m"
    write_y4m(local, carphone.stream, carphone.frames)
    there = load_clip(parse_clip(f"s3://{BUCKET}/carphone.y4m@2-6:88x72"))
    assert there.sha256 == load_clip(parse_clip(f"{local}@2-6:88x72")).sha256


def test_a_container_is_fetched_whole_in_requests_of_bounded_size_and_once(
    door: Door, carphone: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_source, "REQUEST_BYTES", 200_000)
    clip = load_clip(parse_clip(f"s3://{BUCKET}/city.mkv@0-17"))
    assert clip.sha256 == load_clip(CITY).sha256
    spans = door.ranges()
    assert sum(last - first for first, last in spans) == Path(CITY.path).stat().st_size
    assert max(last - first for first, last in spans) == 200_000
    door.requests.clear()
    load_clip(parse_clip(f"s3://{BUCKET}/city.mkv@20-25"))
    assert [method for method, _, _ in door.requests] == ["HEAD"]


def test_a_broken_answer_goes_on_where_it_ended(door: Door, carphone: Clip) -> None:
    door.cut.extend([100_000, 50_000])
    assert load_clip(parse_clip(f"s3://{BUCKET}/city.mkv@0-17")).sha256 == load_clip(CITY).sha256
    starts = [first for first, _ in door.ranges()]
    assert starts == sorted(set(starts))
    assert 0 < starts[1] <= 100_000


def test_a_fetch_that_was_given_up_is_resumed(
    door: Door, carphone: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_source, "_BODY_RETRIES", 0)
    door.cut.append(150_000)
    with pytest.raises(InfrastructureFailure, match="connection broke 1 times"):
        load_clip(parse_clip(f"s3://{BUCKET}/city.mkv@0-17"))
    door.requests.clear()
    assert load_clip(parse_clip(f"s3://{BUCKET}/city.mkv@0-17")).sha256 == load_clip(CITY).sha256
    assert door.ranges()[0][0] > 0


def test_throttling_is_waited_out(door: Door, carphone: Clip) -> None:
    door.refuse.extend([503, 503])
    load_clip(parse_clip(f"s3://{BUCKET}/carphone.yuv@0-2,{RAW}"))
    assert len(door.ranges()) == 3


def test_what_arrives_damaged_is_refused_and_not_kept(door: Door, carphone: Clip) -> None:
    door.flip.append(1000)
    with pytest.raises(InfrastructureFailure, match="what arrived is not what the store has"):
        load_clip(parse_clip(f"s3://{BUCKET}/city.mkv@0-17"))
    assert load_clip(parse_clip(f"s3://{BUCKET}/city.mkv@0-17")).sha256 == load_clip(CITY).sha256


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(
    door: Door, store: tuple[Door, Any]
) -> None:
    store[1].put_object(Bucket=BUCKET, Key="changing", Body=b"a" * 1000)
    with RemoteObject.open(f"s3://{BUCKET}/changing") as remote:
        remote.ensure(0, 10)
        store[1].put_object(Bucket=BUCKET, Key="changing", Body=b"b" * 1000)
        with pytest.raises(SourceError, match="was replaced while it was read"):
            remote.ensure(500, 510)
    with RemoteObject.open(f"s3://{BUCKET}/changing") as remote:
        remote.ensure(0, 10)
        assert remote.read(0, 10) == b"b" * 10


def test_several_readers_of_one_object_fetch_it_once(door: Door, store: tuple[Door, Any]) -> None:
    store[1].put_object(Bucket=BUCKET, Key="shared", Body=bytes(range(256)) * 4000)

    def read() -> None:
        with RemoteObject.open(f"s3://{BUCKET}/shared") as remote:
            remote.ensure(0, remote.size)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert door.ranges() == [(0, 1_024_000)]


def test_the_cache_forgets_what_was_used_longest_ago_but_nothing_in_use(
    door: Door, store: tuple[Door, Any], tmp_path: Path
) -> None:
    for key in ("one", "two", "three"):
        store[1].put_object(Bucket=BUCKET, Key=key, Body=key.encode() * 400_000)
    with (
        reading_from(door, tmp_path / "small", cache_bytes=3_000_000),
        RemoteObject.open(f"s3://{BUCKET}/one") as held,
    ):
        held.ensure(0, held.size)
        for key in ("two", "three"):
            with RemoteObject.open(f"s3://{BUCKET}/{key}") as remote:
                remote.ensure(0, remote.size)
        assert held.path.exists()
        assert remote.path.exists()
        assert len(list((tmp_path / "small").glob("*.object"))) == 2
        assert held.read(0, 6) == b"oneone"


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        (f"s3://{BUCKET}/missing.mkv", "no such object"),
        ("s3://nowhere/missing.mkv", "there is no bucket nowhere"),
        ("s3://clips", "write s3://BUCKET/KEY"),
        (f"s3://{BUCKET}/carphone.yuv", "raw video does not say"),
        (f"s3://{BUCKET}/carphone.yuv,raw=99x99,30", "are not whole frames"),
        (f"s3://{BUCKET}/carphone.yuv@50-60,{RAW}", "it has 17 frames, none from frame 50"),
    ],
)
def test_a_mistake_is_told(door: Door, carphone: Clip, path: str, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint):
        load_clip(parse_clip(path))


def test_missing_credentials_are_told(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    client_of.cache_clear()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(SourceError, match=r"no AWS credentials .*set AWS_PROFILE"):
        check_source(parse_clip(f"s3://{BUCKET}/city.mkv"))
    client_of.cache_clear()


def test_a_refusal_is_told(door: Door, carphone: Clip) -> None:
    door.refuse.append(403)
    with pytest.raises(SourceError, match="refuses access"):
        load_clip(parse_clip(f"s3://{BUCKET}/city.mkv"))


def test_a_store_that_does_not_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_credentials(monkeypatch)
    monkeypatch.setattr("evocodec.video.s3_client.ATTEMPTS", 1)
    with (
        reading_from(Door("http://127.0.0.1:9"), tmp_path),
        pytest.raises(InfrastructureFailure, match=r"does not answer.*data\.s3_endpoint_url"),
    ):
        check_source(parse_clip("s3://bucket/clip.mkv"))


def test_a_large_file_is_stored_in_parts(
    door: Door, store: tuple[Door, Any], tmp_path: Path
) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(range(251)) * 40_000)
    upload(file, f"s3://{BUCKET}/large")
    body = store[1].get_object(Bucket=BUCKET, Key="large")["Body"].read()
    assert body == file.read_bytes()
    assert sum(method == "PUT" for method, _, _ in door.requests) == 2
    with pytest.raises(SourceError, match="no bucket nowhere"):
        upload(file, "s3://nowhere/large")
