"""Video in S3: read by byte ranges, kept in the cache, never mixed from two versions of an object.

An object is one sparse file in the cache, with holes for the bytes that were not fetched yet, and a
list of the ranges that it has. Both are named by a digest of endpoint, bucket, key, ETag and
version, so that a replaced object is another file.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from evocodec.domain.errors import InfrastructureFailure, SourceError
from evocodec.regular_files import RECORD_BYTES, read_regular
from evocodec.video.clip_cache import OBJECT_SUFFIX, ClipCache, HeldFile, clip_cache
from evocodec.video.data_options import data_options

if TYPE_CHECKING:
    from evocodec.video.s3_client import ObjectVersion, S3Client, S3Url

REQUEST_BYTES = 8 << 20
_BODY_RETRIES = 4  # of answers that break off; each goes on where the last one ended
_PIECE_BYTES = 1 << 20

_Interval: TypeAlias = tuple[int, int]


class RemoteObject:
    """One version of one object, as far as it has been fetched."""

    def __init__(
        self, url: "S3Url", version: "ObjectVersion", client: "S3Client", cache: ClipCache
    ) -> None:
        self._url = url
        self._version = version
        self._client = client
        self._cache = cache
        self.size = version.size
        self.identity = self._digest()
        self._held: HeldFile = cache.create(self.identity + OBJECT_SUFFIX)

    @classmethod
    @contextmanager
    def open(cls, text: str) -> "Iterator[RemoteObject]":
        """Ask the store for the object's size and version; raises as ``ensure`` does."""
        client, url = _connect(text)
        version = client.head(url)
        if not version.size:
            raise SourceError(f"{url}: the object is empty (0 bytes); upload it again")
        remote = cls(url, version, client, clip_cache())
        try:
            yield remote
        finally:
            remote._held.close()

    @property
    def path(self) -> Path:
        """Path of the file in the cache; ranges that were not fetched are holes."""
        return self._held.path

    def read(self, start: int, count: int) -> bytes:
        """Read bytes that ``ensure`` has fetched, at most to the end of the object."""
        return self._held.read(start, min(count, self.size - start))

    def ensure(self, start: int, end: int) -> None:
        """Fetch what is missing between these bytes; one process at a time does so.

        Raises ``SourceError``: no credentials, no permission, no such object, or it was replaced
        meanwhile; ``InfrastructureFailure``: no answer, or none in one piece, after retries.
        """
        end = min(end, self.size)
        if not _missing(self._read_map(), start, end):
            return
        with self._cache.exclusively(self.identity + ".lock"):
            have = self._read_map()
            gaps = _missing(have, start, end)
            if not gaps:  # another process was faster
                return
            self._cache.make_room(sum(last - first for first, last in gaps))
            os.ftruncate(self._held.fd, self.size)
            for first, last in gaps:
                for place in range(first, last, REQUEST_BYTES):
                    have = self._fetch(have, place, min(place + REQUEST_BYTES, last))
            if have == [(0, self.size)]:
                self._verify()

    def _fetch(self, have: list[_Interval], start: int, end: int) -> list[_Interval]:
        """Fetch one range; bytes that arrive before the connection breaks are kept."""
        from evocodec.video.s3_client import BrokenAnswerError  # noqa: PLC0415 - see _connect

        broken, place = 0, start
        while place < end:
            before = place
            try:
                for piece in self._client.stream(self._url, self._version, place, end):
                    place = self._write(place, piece[: end - place])
                    broken = 0
            except BrokenAnswerError as error:
                broken += 1
                if broken > _BODY_RETRIES:
                    raise InfrastructureFailure(
                        f"{self._url}: the connection broke {broken} times at byte {place}: "
                        f"{error}; run the same command again, it goes on from there"
                    ) from error
                time.sleep(0.1 * 2**broken)
            finally:
                have = _joined([*have, (before, place)])
                self._write_map(have)
        return have

    def _write(self, place: int, piece: bytes) -> int:
        view = memoryview(piece)
        try:
            while view:
                done = os.pwrite(self._held.fd, view, place)
                view, place = view[done:], place + done
        except OSError as error:
            raise InfrastructureFailure(
                f"cannot keep {self._url} in {self.path.parent}: {error.strerror}; free some space"
            ) from error
        return place

    def _verify(self) -> None:
        """Compare the object with its ETag if that is an MD5: not for multipart or KMS."""
        wanted = self._version.md5
        if not wanted:
            return
        digest = hashlib.md5(usedforsecurity=False)
        for place in range(0, self.size, _PIECE_BYTES):
            digest.update(self.read(place, _PIECE_BYTES))
        if digest.hexdigest() != wanted:
            self._map.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
            raise InfrastructureFailure(
                f"{self._url}: what arrived is not what the store has (MD5 {digest.hexdigest()}, "
                f"ETag {wanted}); run the same command again"
            )

    @property
    def _map(self) -> Path:
        return self.path.with_suffix(".json")

    def _read_map(self) -> list[_Interval]:
        try:
            kept = json.loads(read_regular(self._map, RECORD_BYTES))
            if kept["inode"] != os.fstat(self._held.fd).st_ino:
                return []  # of a file that was removed
            return [(int(first), int(last)) for first, last in kept["have"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _write_map(self, have: list[_Interval]) -> None:
        # The data first: a list must not promise what a power cut took away.
        os.fdatasync(self._held.fd)
        part = self._map.with_suffix(f".{os.getpid()}.new")
        part.write_text(json.dumps({"inode": os.fstat(self._held.fd).st_ino, "have": have}))
        part.replace(self._map)

    def _digest(self) -> str:
        facts = (
            *(data_options().s3_endpoint_url, self._url.bucket, self._url.key),
            *(self._version.etag, self._version.version_id, self.size),
        )
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]


def upload(file: Path, text: str) -> None:
    """Upload a file as one object; raises as ``RemoteObject.ensure`` does."""
    client, url = _connect(text)
    client.upload(file, url)


def _connect(text: str) -> "tuple[S3Client, S3Url]":
    try:
        # boto3 is an extra, and takes a second to import.
        from evocodec.video.s3_client import S3Url, client_of  # noqa: PLC0415
    except ImportError as error:
        raise SourceError(
            f"{text}: video in S3 needs boto3, which is not installed; "
            "run `pip install 'evocodec[aws]'`"
        ) from error
    return client_of(data_options().s3_endpoint_url), S3Url.parse(text)


def _joined(intervals: list[_Interval]) -> list[_Interval]:
    joined: list[_Interval] = []
    for first, last in sorted(item for item in intervals if item[0] < item[1]):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _missing(have: list[_Interval], start: int, end: int) -> list[_Interval]:
    gaps, place = [], start
    for first, last in have:
        if last <= place:
            continue
        if first >= end:
            break
        if first > place:
            gaps.append((place, first))
        place = max(place, last)
    if place < end:
        gaps.append((place, end))
    return gaps
