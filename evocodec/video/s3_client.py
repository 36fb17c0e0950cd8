"""S3 client on boto3; S3 errors become Evocodec errors. Imported only where S3 is used."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from boto3.exceptions import S3UploadFailedError
from botocore import exceptions as aws
from botocore.config import Config

from evocodec.aws_session import aws_session
from evocodec.domain.errors import EvocodecError, InfrastructureFailure, SourceError
from evocodec.video.data_options import S3_SCHEME

ATTEMPTS = 6  # by botocore, with exponential back-off, for what is refused or does not answer
_PIECE_BYTES = 1 << 20
_MD5_ENCRYPTIONS = ("", "AES256")


class BrokenAnswerError(Exception):
    """A response that ended early; the rest can be requested again."""


@dataclass(frozen=True, slots=True)
class S3Url:
    """``s3://bucket/key``."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "S3Url":
        """Raises ``SourceError`` unless there is a bucket and a key."""
        bucket, _, key = text.removeprefix(S3_SCHEME).partition("/")
        if not bucket or not key or key.endswith("/"):
            raise SourceError(f"{text}: not an object in S3; write s3://BUCKET/KEY")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"{S3_SCHEME}{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object; it must not change while it is read.

    ``md5`` is empty where the ETag is no MD5: for multipart uploads, and with customer keys.
    """

    size: int
    etag: str
    version_id: str
    md5: str


class S3Client:
    """A connection to one store. Methods raise ``SourceError`` or ``InfrastructureFailure``."""

    def __init__(self, endpoint_url: str) -> None:
        config = Config(
            retries={"mode": "standard", "max_attempts": ATTEMPTS},
            connect_timeout=10,
            read_timeout=60,
        )
        try:
            self._client = aws_session().client(
                "s3", endpoint_url=endpoint_url or None, config=config
            )
        except (aws.BotoCoreError, ValueError) as error:
            raise SourceError(
                f"S3 cannot be used: {error}; check data.s3_endpoint_url and the AWS configuration"
            ) from error

    def head(self, url: S3Url) -> ObjectVersion:
        """Return the size and version of an object."""
        with self._explained(url):
            answer = self._client.head_object(Bucket=url.bucket, Key=url.key)
        etag = str(answer["ETag"])
        plain = len(etag.strip('"')) == hashlib.md5(usedforsecurity=False).digest_size * 2
        if answer.get("ServerSideEncryption", "") not in _MD5_ENCRYPTIONS:
            plain = False
        if "SSECustomerAlgorithm" in answer:
            plain = False
        version_id = str(answer.get("VersionId", ""))
        return ObjectVersion(
            size=int(answer["ContentLength"]),
            etag=etag,
            version_id="" if version_id == "null" else version_id,
            md5=etag.strip('"') if plain else "",
        )

    def stream(self, url: S3Url, version: ObjectVersion, start: int, end: int) -> Iterator[bytes]:
        """Yield these bytes as they arrive; raises ``BrokenAnswerError`` when too few arrive."""
        asked = {"Range": f"bytes={start}-{end - 1}", "IfMatch": version.etag}
        if version.version_id:
            asked["VersionId"] = version.version_id
        with self._explained(url):
            answer = self._client.get_object(Bucket=url.bucket, Key=url.key, **asked)
        got, body = 0, answer["Body"]
        try:
            for piece in body.iter_chunks(_PIECE_BYTES):
                got += len(piece)
                yield piece
        except (aws.BotoCoreError, OSError) as error:
            raise BrokenAnswerError(type(error).__name__) from error
        finally:
            body.close()
        if got != end - start:
            raise BrokenAnswerError(f"{got} of {end - start} bytes came")

    def upload(self, file: Path, url: S3Url) -> None:
        """Upload a file, in parts when it is large; the object appears as a whole or not at all."""
        try:
            with self._explained(url):
                self._client.upload_file(str(file), url.bucket, url.key)
        except S3UploadFailedError as error:
            cause = error.__context__
            if isinstance(cause, aws.ClientError):
                raise self._from_answer(url, cause) from error
            raise InfrastructureFailure(f"{url}: cannot be written: {error}; try again") from error

    @contextmanager
    def _explained(self, url: S3Url) -> Iterator[None]:
        try:
            yield
        except (
            aws.NoCredentialsError,
            aws.PartialCredentialsError,
            aws.TokenRetrievalError,
        ) as error:
            raise SourceError(
                f"{url}: no AWS credentials were found ({error}); set AWS_PROFILE, or "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except aws.ClientError as error:
            raise self._from_answer(url, error) from error
        except aws.ParamValidationError as error:
            raise SourceError(f"{url}: {error}; write s3://BUCKET/KEY") from error
        except aws.BotoCoreError as error:
            raise InfrastructureFailure(
                f"{url}: the store at {self._client.meta.endpoint_url} does not answer: {error}; "
                "check data.s3_endpoint_url and the network"
            ) from error

    def _from_answer(self, url: S3Url, error: aws.ClientError) -> EvocodecError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = _status(error)
        if code == "NoSuchBucket" or (code == "404" and not self._bucket_exists(url)):
            return SourceError(f"{url}: there is no bucket {url.bucket}; check its name")
        if status == 404:
            return SourceError(f"{url}: there is no such object in the bucket; check the key")
        if status in {401, 403}:
            return SourceError(
                f"{url}: the store refuses access ({code or status}); check what these "
                "credentials may do, or set AWS_PROFILE"
            )
        if status == 412:
            return SourceError(f"{url}: the object was replaced while it was read; run it again")
        if status == 429 or status >= 500:
            return InfrastructureFailure(
                f"{url}: the store was too busy {ATTEMPTS} times ({code or status}); try it later"
            )
        return SourceError(f"{url}: the store answered {code or status}: {error}; check the name")

    def _bucket_exists(self, url: S3Url) -> bool:
        # The answer to HEAD has no body that would say which of the two is missing.
        with suppress(aws.BotoCoreError):
            try:
                self._client.head_bucket(Bucket=url.bucket)
            except aws.ClientError as error:
                return _status(error) != 404
        return True


@cache
def client_of(endpoint_url: str) -> S3Client:
    """Return the connection of this process to a store; making one takes half a second."""
    return S3Client(endpoint_url)


def _status(error: aws.ClientError) -> int:
    answer: dict[str, Any] = dict(error.response.get("ResponseMetadata", {}))
    return int(answer.get("HTTPStatusCode", 0))
