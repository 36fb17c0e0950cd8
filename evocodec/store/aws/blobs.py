"""Blobs in S3: one object each, named by the SHA-256 of its bytes, written once."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.store.aws.client import AwsClient, Refused
from evocodec.store.blobs import check_blob, check_name, missing_blob

Encryption = Literal["", "AES256", "aws:kms"]

_ALREADY_THERE = {"PreconditionFailed", "412"}
_NO_CONDITIONS = {"NotImplemented", "501"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}
_BEYOND_END = {"InvalidRange", "416"}


@dataclass(frozen=True, slots=True)
class S3Options:
    """Location and encryption of objects, and the size from which uploads have several parts.

    ``encryption`` empty leaves it to the bucket. S3 wants parts of at least 5 MiB.
    """

    bucket: str
    prefix: str
    encryption: Encryption
    kms_key_id: str
    part_bytes: int


class S3BlobStore:
    """A BlobStore in a bucket that exists: ``PREFIXblobs/ab/cdef…``."""

    def __init__(self, client: AwsClient, options: S3Options) -> None:
        self._client = client
        self._options = options
        self._conditional = True
        self._place = f"s3://{options.bucket}/{options.prefix}blobs/"

    def put(self, data: bytes) -> str:
        """See BlobStore. An object appears whole or not; only an absent one is written."""
        sha256 = hashlib.sha256(data).hexdigest()
        key = self._key(sha256)
        try:
            self._write(key, data, only_if_absent=True)
        except Refused:
            if not self._is_whole(key, data):
                self._write(key, data, only_if_absent=False)
        return sha256

    def get(self, sha256: str) -> bytes:
        """See BlobStore. Read in pieces: one that breaks off is asked for again, not the whole."""
        key = self._key(sha256)
        data, total = bytearray(), 1
        while len(data) < total:
            piece, total = self._piece(key, sha256, len(data), self._options.part_bytes)
            data += piece
        check_blob(sha256, bytes(data), self._place + sha256)
        return bytes(data)

    def has(self, sha256: str) -> bool:
        """See BlobStore."""
        return self._head(self._key(sha256)) is not None

    def names(self) -> Iterator[str]:
        """Iterate over the names of all blobs, sorted."""
        root = f"{self._options.prefix}blobs/"
        more: dict[str, Any] = {}
        while True:
            answer = self._client.call(
                f"list {self._place}",
                "list_objects_v2",
                Bucket=self._options.bucket,
                Prefix=root,
                **more,
            )
            for item in answer.get("Contents", ()):
                name = str(item["Key"]).removeprefix(root).replace("/", "")
                if len(name) == hashlib.sha256().digest_size * 2:
                    yield name
            if not answer.get("IsTruncated"):
                return
            more["ContinuationToken"] = answer["NextContinuationToken"]

    def _key(self, sha256: str) -> str:
        check_name(sha256)
        return f"{self._options.prefix}blobs/{sha256[:2]}/{sha256[2:]}"

    def _write(self, key: str, data: bytes, *, only_if_absent: bool) -> None:
        condition = {"IfNoneMatch": "*"} if only_if_absent and self._conditional else {}
        # Without conditions the name is asked for first: bytes of one name are the same anyway.
        if only_if_absent and not self._conditional and self._head(key) is not None:
            raise Refused("PreconditionFailed", {})
        try:
            if len(data) > self._options.part_bytes:
                self._write_parts(key, data, condition)
            else:
                self._call(
                    "put_object",
                    key,
                    expected=_ALREADY_THERE | _NO_CONDITIONS,
                    Body=data,
                    ChecksumSHA256=_checksum(data),
                    **condition,
                    **self._encrypted(),
                )
        except Refused as refusal:
            if refusal.code not in _NO_CONDITIONS or not condition:
                raise
            self._conditional = False
            self._write(key, data, only_if_absent=only_if_absent)

    def _write_parts(self, key: str, data: bytes, condition: dict[str, str]) -> None:
        if self._head(key) is not None and condition:
            # Asked before gigabytes go out; the condition at the end still decides.
            raise Refused("PreconditionFailed", {})
        begun = self._call(
            "create_multipart_upload", key, ChecksumAlgorithm="SHA256", **self._encrypted()
        )
        upload = str(begun["UploadId"])
        try:
            parts = list(self._parts(key, upload, data))
            self._call(
                "complete_multipart_upload",
                key,
                expected=_ALREADY_THERE | _NO_CONDITIONS,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
                **condition,
            )
        except BaseException:
            self._abort(key, upload)
            raise

    def _parts(self, key: str, upload: str, data: bytes) -> Iterator[dict[str, Any]]:
        for number, part in enumerate(_split(data, self._options.part_bytes), start=1):
            checksum = _checksum(part)
            answer = self._call(
                "upload_part",
                key,
                UploadId=upload,
                PartNumber=number,
                Body=part,
                ChecksumSHA256=checksum,
            )
            found = {"PartNumber": number, "ETag": answer["ETag"]}
            # A store that says nothing of checksums would not know them at the end either.
            yield found | ({"ChecksumSHA256": checksum} if "ChecksumSHA256" in answer else {})

    def _abort(self, key: str, upload: str) -> None:
        try:
            self._call(
                "abort_multipart_upload",
                key,
                expected={"NoSuchUpload", "404"},
                within_seconds=2.0,
                UploadId=upload,
            )
        except (Refused, InfrastructureFailure, UserError):
            return  # a lifecycle rule of the bucket removes what is left; see docs/stores.md

    def _is_whole(self, key: str, data: bytes) -> bool:
        """Whether the object that is there is the one that was to be written."""
        found = self._head(key)
        if found is None or int(found["ContentLength"]) != len(data):
            return False
        size = self._options.part_bytes
        if found.get("ChecksumSHA256") in {_checksum(data), _checksum_of_parts(data, size)}:
            return True
        plain_md5 = found.get("ServerSideEncryption", "AES256") == "AES256"
        if plain_md5 and str(found["ETag"]).strip('"') in {_md5(data), _md5_of_parts(data, size)}:
            return True
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            return self.get(sha256) == data
        except InfrastructureFailure:
            return False

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            return self._call("head_object", key, expected=_ABSENT, ChecksumMode="ENABLED")
        except Refused:
            return None

    def _piece(self, key: str, sha256: str, start: int, length: int) -> tuple[bytes, int]:
        """Return some bytes, and how many the object has in all."""
        asked = f"bytes={start}-{start + length - 1}"

        def read() -> tuple[bytes, int]:
            answer = self._client.raw.get_object(Bucket=self._options.bucket, Key=key, Range=asked)
            body = answer["Body"]
            try:
                piece = bytes(body.read())
            finally:
                body.close()
            if len(piece) != int(answer["ContentLength"]):
                raise OSError(f"{len(piece)} of {answer['ContentLength']} bytes came")
            total = str(answer.get("ContentRange", "")).rpartition("/")[2]
            return piece, int(total) if total.isdigit() else len(piece)

        try:
            found: tuple[bytes, int] = self._client.attempt(
                f"read {self._place}{sha256}", read, expected=_ABSENT | _BEYOND_END
            )
        except Refused as refusal:
            if refusal.code in _BEYOND_END:
                return b"", start
            raise missing_blob(sha256, self._place.rstrip("/")) from refusal
        return found

    def _encrypted(self) -> dict[str, str]:
        options = self._options
        if not options.encryption:
            return {}
        key = {"SSEKMSKeyId": options.kms_key_id} if options.kms_key_id else {}
        return {"ServerSideEncryption": options.encryption, **key}

    def _call(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        verb = "read" if operation.startswith(("head", "get")) else "write"
        return self._client.call(
            f"{verb} s3://{self._options.bucket}/{key}",
            operation,
            Bucket=self._options.bucket,
            Key=key,
            **arguments,
        )


def check_bucket(client: AwsClient, bucket: str) -> None:
    """Raise UserError unless the bucket is there and may be used."""
    client.call(f"use the bucket {bucket}", "head_bucket", Bucket=bucket)


def bucket_exists(client: AwsClient, bucket: str) -> bool:
    """Return whether the bucket exists. Raises UserError when another account owns it."""
    absent = {"404", "NoSuchBucket"}
    try:
        client.call(f"use the bucket {bucket}", "head_bucket", expected=absent, Bucket=bucket)
    except Refused:
        return False
    return True


def make_bucket(client: AwsClient, bucket: str) -> None:
    """Make the bucket unless it is there."""
    if bucket_exists(client, bucket):
        return
    # us-east-1 is the one region that must not be named.
    place = {"CreateBucketConfiguration": {"LocationConstraint": client.region}}
    named: dict[str, Any] = {} if client.region == "us-east-1" else place
    client.call(f"make the bucket {bucket}", "create_bucket", Bucket=bucket, **named)


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _checksum_of_parts(data: bytes, size: int) -> str:
    """Return S3's checksum of an upload in parts of that size: a checksum of checksums."""
    digests = [hashlib.sha256(part).digest() for part in _split(data, size)]
    return f"{_checksum(b''.join(digests))}-{len(digests)}"


def _md5_of_parts(data: bytes, size: int) -> str:
    """The ETag of an object that came in parts of that size."""
    digests = [hashlib.md5(part, usedforsecurity=False).digest() for part in _split(data, size)]
    return f"{_md5(b''.join(digests))}-{len(digests)}"


def _split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))
