"""Blobs in S3 when things go wrong, and how they are written: parts, ranges, encryption."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import pytest

from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.store.aws.blobs import S3BlobStore, check_bucket
from evocodec.store.aws.client import AwsClient, connect
from tests.support.aws_fault_proxy import CUT, LOSE, Answer, Door, door_to
from tests.support.aws_servers import fresh_name, moto_server, options_for, s3_blobs
from tests.support.default_options import default_s3_options

PART = 5 << 20
LARGE = random.Random(7).randbytes(2 * PART + 1000)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def door(server: str) -> Iterator[Door]:
    with door_to(server) as opened:
        yield opened


@pytest.fixture
def bucket() -> str:
    return fresh_name("bucket")


def raw(server: str) -> Any:
    return connect("s3", options_for(server)).raw


def key_of(name: str) -> str:
    return f"lab/blobs/{name[:2]}/{name[2:]}"


def test_large_blobs_go_and_come_in_parts(door: Door, bucket: str) -> None:
    blobs = s3_blobs(door.url, bucket, part_bytes=PART)
    name = blobs.put(LARGE)
    sent = [path for operation, path, _ in door.calls if operation == "PUT" and "partN" in path]
    assert len(sent) == 3
    door.calls.clear()
    assert blobs.get(name) == LARGE
    ranges = [headers["Range"] for _, _, headers in door.calls]
    assert ranges == [f"bytes={n * PART}-{(n + 1) * PART - 1}" for n in range(3)]
    assert list(blobs.names()) == [name]


def test_what_is_there_is_not_sent_again(door: Door, bucket: str) -> None:
    blobs = s3_blobs(door.url, bucket, part_bytes=PART)
    blobs.put(LARGE)
    door.calls.clear()
    blobs.put(LARGE)
    assert {operation for operation, _, _ in door.calls} == {"HEAD"}


def test_a_damaged_object_is_noticed_and_repaired_by_putting_again(
    server: str, bucket: str
) -> None:
    blobs = s3_blobs(server, bucket)
    for damage in (b"progrAm", b"prog"):
        name = blobs.put(b"program")
        raw(server).put_object(Bucket=bucket, Key=key_of(name), Body=damage)
        with pytest.raises(InfrastructureFailure, match="damaged"):
            blobs.get(name)
        blobs.put(b"program")
        assert blobs.get(name) == b"program"


def test_an_answer_that_breaks_off_or_is_lost_is_asked_for_again(door: Door, bucket: str) -> None:
    blobs = s3_blobs(door.url, bucket, part_bytes=PART)
    door.harm("PUT", LOSE, Answer(503, "SlowDown"))
    name = blobs.put(LARGE)
    door.harm("GET", CUT, Answer(500, "InternalError"), LOSE)
    assert blobs.get(name) == LARGE
    assert door.faults == []


def test_a_failed_upload_leaves_no_parts_behind(door: Door, bucket: str) -> None:
    s3_blobs(door.url, bucket)
    client = AwsClient("s3", options_for(door.url, retry_seconds=0.3))
    blobs = S3BlobStore(client, default_s3_options(bucket, part_bytes=PART))
    door.harm("PUT", *[Answer(503, "SlowDown")] * 100)
    with pytest.raises(InfrastructureFailure, match=f"cannot write s3://{bucket}/lab/blobs/"):
        blobs.put(LARGE)
    assert "Uploads" not in client.raw.list_multipart_uploads(Bucket=bucket)
    assert not blobs.has(hashlib.sha256(LARGE).hexdigest())


def test_a_store_without_conditions_is_asked_first(door: Door, bucket: str) -> None:
    blobs = s3_blobs(door.url, bucket)
    door.harm("PUT", Answer(501, "NotImplemented"))
    name = blobs.put(b"program")
    assert blobs.put(b"program") == name
    assert blobs.get(name) == b"program"
    assert [operation for operation, _, _ in door.calls if operation == "PUT"][-2:] == ["PUT"] * 2


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["whole", "parts"])
def test_objects_are_encrypted_as_the_settings_say(server: str, bucket: str, data: bytes) -> None:
    blobs = s3_blobs(server, bucket, encryption="aws:kms", kms_key_id="alias/lab", part_bytes=PART)
    name = blobs.put(data)
    found = raw(server).head_object(Bucket=bucket, Key=key_of(name))
    assert found["ServerSideEncryption"] == "aws:kms"
    assert found["SSEKMSKeyId"] == "alias/lab"
    assert blobs.get(name) == data
    assert blobs.put(data) == name


def test_a_missing_bucket_and_refused_access_are_said(door: Door, bucket: str) -> None:
    client = connect("s3", options_for(door.url))
    with pytest.raises(UserError, match=r"store\.bucket"):
        check_bucket(client, "absent-bucket")
    blobs = s3_blobs(door.url, bucket)
    door.harm("PUT", Answer(403, "AccessDenied", "not authorized to perform: s3:PutObject"))
    with pytest.raises(UserError, match=r"s3:PutObject.*docs/stores\.md"):
        blobs.put(b"program")
