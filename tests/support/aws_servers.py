"""Servers that speak DynamoDB and S3 on loopback, and stores on them.

moto's server knows most and keeps nothing; DynamoDB Local and localbucket keep everything on disk.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto.server", reason="moto's server is not installed")

from moto.server import ThreadedMotoServer

from evocodec.store.aws.blobs import S3BlobStore, make_bucket
from evocodec.store.aws.client import AwsClient, AwsOptions, connect
from evocodec.store.aws.ledger import DynamoLedger, ledger_table
from evocodec.store.aws.records import DynamoRecordStore, records_table
from evocodec.store.aws.tables import ensure_table
from evocodec.store.memory import MemoryBlobStore
from tests.support.default_options import default_s3_options, default_table_options

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
REGION = "eu-central-1"
_names = iter(range(1_000_000))
_guard = threading.Lock()


@contextmanager
def aws_environment() -> Iterator[None]:
    """Credentials that any of these servers takes, and no others."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        yield


@contextmanager
def moto_server() -> Iterator[str]:
    """A server that knows DynamoDB and S3; gives its address."""
    with aws_environment():
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            yield f"http://{host}:{port}"
        finally:
            server.stop()


def options_for(url: str, *, retry_seconds: float = 20.0) -> AwsOptions:
    """Of a client of that server."""
    return AwsOptions(REGION, url, retry_seconds)


def fresh_name(base: str) -> str:
    """A name that no other test of this process has."""
    with _guard:
        return f"{base}-{next(_names)}"


def dynamo_ledger(url: str, table: str, **changes: Any) -> DynamoLedger:
    """A ledger in that table, which is made when it is not there."""
    client = connect("dynamodb", options_for(url))
    ensure_table(client, ledger_table(table), default_table_options())
    given = {"ttl_days": 0.0, **changes}
    return DynamoLedger(client, table, given.pop("blobs", MemoryBlobStore()), **given)


def dynamo_records(url: str, table: str, **changes: Any) -> DynamoRecordStore:
    """Records in that table, which is made when it is not there."""
    client = connect("dynamodb", options_for(url))
    facts = ensure_table(client, records_table(table), default_table_options())
    given = {"ttl_days": 0.0, **changes}
    return DynamoRecordStore(client, facts, given.pop("blobs", MemoryBlobStore()), **given)


def s3_blobs(url: str, bucket: str, **changes: Any) -> S3BlobStore:
    """Blobs in that bucket, which is made when it is not there."""
    client: AwsClient = connect("s3", options_for(url))
    make_bucket(client, bucket)
    return S3BlobStore(client, default_s3_options(bucket, **changes))
