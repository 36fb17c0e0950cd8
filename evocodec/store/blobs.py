"""Blobs: programs, prompts, replies and bitstreams, each under the SHA-256 of its bytes."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.regular_files import RECORD_BYTES, read_regular

_SHA256 = re.compile(r"[0-9a-f]{64}")


class BlobStore(Protocol):
    """Bytes by the hash of their content: written once, never changed.

    *Threads and processes.* All may call at any time; two writers of the same bytes agree by
    nature.

    *Failures.* InfrastructureFailure when the storage fails. ValueError for a name that is not 64
    lower-case hexadecimal digits, whatever is stored.
    """

    def put(self, data: bytes) -> str:
        """Keep the bytes, durably, and return their SHA-256 in lower-case hexadecimal.

        Putting the same bytes again changes nothing, but repairs a damaged copy. A reader sees the
        whole blob or none.
        """
        ...

    def get(self, sha256: str) -> bytes:
        """Return the bytes, checked against their name.

        Raises UserError when there is no such blob, and InfrastructureFailure when what is stored
        under that name is not what was put.
        """
        ...

    def has(self, sha256: str) -> bool:
        """Return whether the blob is there; its content is not checked."""
        ...


class FileBlobStore:
    """A BlobStore in a folder: ``ab/cdef…``, the first two digits being the subfolder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        """See BlobStore."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(sha256)
        try:
            if not (path.is_file() and read_regular(path, RECORD_BYTES) == data):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, data)
                _flush_folder(self.folder)
        except OSError as error:
            raise InfrastructureFailure(
                f"blob {sha256[:12]} cannot be written below {self.folder}: {error}. "
                "Check free space and permissions"
            ) from error
        return sha256

    def get(self, sha256: str) -> bytes:
        """See BlobStore."""
        path = self._path(sha256)
        try:
            data = read_regular(path, RECORD_BYTES)
        except FileNotFoundError:
            raise missing_blob(sha256, str(self.folder)) from None
        except OSError as error:
            raise InfrastructureFailure(f"blob {path} cannot be read: {error}") from error
        check_blob(sha256, data, str(path))
        return data

    def has(self, sha256: str) -> bool:
        """See BlobStore."""
        return self._path(sha256).is_file()

    def names(self) -> Iterator[str]:
        """Iterate over the names of all blobs, sorted."""
        for path in sorted(self.folder.glob("[0-9a-f][0-9a-f]/*")):
            name = path.parent.name + path.name
            if _SHA256.fullmatch(name):
                yield name

    def _path(self, sha256: str) -> Path:
        check_name(sha256)
        return self.folder / sha256[:2] / sha256[2:]


def check_name(sha256: str) -> None:
    """Raise ValueError unless this is a SHA-256 in lower-case hexadecimal."""
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256[:80]!r} is not a blob name: 64 lower-case hexadecimal digits")


def check_blob(sha256: str, data: bytes, place: str) -> None:
    """Raise InfrastructureFailure unless the bytes have that SHA-256."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise InfrastructureFailure(
            f"blob {place} is damaged: its content has SHA-256 {found[:12]}…, not {sha256[:12]}…. "
            "Restore it from a backup"
        )


def missing_blob(sha256: str, place: str) -> UserError:
    """Return the error for a blob that is not there."""
    return UserError(
        f"there is no blob {sha256} in {place}: it was deleted, or belongs to another workspace "
        "(choose it with --workspace)"
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that readers and crashes see the old content or the new, never a part.

    The bytes, then the name, are flushed to the disk before it returns.
    """
    temporary = path.with_name(f".{path.name[:40]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
