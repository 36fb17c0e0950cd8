"""DynamoDB Local and localbucket side by side: a cloud small enough to kill."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evocodec.store.aws.blobs import make_bucket
from evocodec.store.aws.client import connect
from tests.support.aws_servers import REGION, aws_environment, options_for
from tests.support.persisting_servers import Server, dynamodb_local, localbucket

BUCKET = "evocodec"


@dataclass
class Cloud:
    """Both servers."""

    dynamodb: Server
    s3: Server

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Of a laboratory that keeps everything there."""
        return {
            "store__backend": "dynamodb",
            "store__region": REGION,
            "store__dynamodb_endpoint_url": self.dynamodb.url,
            "store__s3_endpoint_url": self.s3.url,
            "store__bucket": BUCKET,
            **changes,
        }


@contextmanager
def persisting_cloud(folder: Path) -> Iterator[Cloud]:
    """Both with their data in the folder, a bucket and credentials; skips where one is missing."""
    with aws_environment(), localbucket(folder) as s3, dynamodb_local(folder) as dynamodb:
        make_bucket(connect("s3", options_for(s3.url)), BUCKET)
        yield Cloud(dynamodb, s3)
