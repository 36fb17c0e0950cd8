"""Places of output: which files a command reads or keeps, and so must not write over."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from evocodec.app.laboratory import Laboratory
from evocodec.domain.errors import EvocodecError, UserError
from evocodec.file_kinds import FileKind
from evocodec.output_file import OutputFile, output_file
from evocodec.video.clip_cache import clip_cache
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import default_clips
from evocodec.video.data_options import S3_SCHEME
from evocodec.video.s3_source import upload
from evocodec.video.test_sets import current_test_sets, named_clips


class Output(Protocol):
    """Where a command writes: ``OutputFile`` or ``RemoteOutput``."""

    @property
    def name(self) -> str:
        """As it was typed."""

    @property
    def is_stream(self) -> bool:
        """Whether what is written cannot be taken back."""

    @contextmanager
    def writing(self, *, seekable: bool = False) -> Iterator[BinaryIO]:
        """Give a binary file to write into; it gets its place when all went well."""


@dataclass(frozen=True, slots=True)
class RemoteOutput:
    """An object in S3, uploaded whole when it is finished."""

    name: str

    @property
    def is_stream(self) -> bool:
        """It is written to a file of the cache first."""
        return False

    @contextmanager
    def writing(self, *, seekable: bool = False) -> Iterator[BinaryIO]:
        """Give a file of the cache, uploaded at the end; raises as ``upload`` does."""
        cache = clip_cache()
        cache.prepare()
        held = cache.create()
        try:
            with held.path.open("r+b") as file:
                yield file
            upload(held.path, self.name)
        except OSError as error:
            message = f"cannot write {held.path}: {error.strerror or error}; free some space"
            raise UserError(message) from error
        finally:
            held.path.unlink(missing_ok=True)
            held.close()


@dataclass(frozen=True, slots=True)
class OutputPlaces:
    """Checks outputs against what a workspace keeps and what its settings say is read."""

    lab: Laboratory

    def output(
        self,
        name: str | Path,
        kind: FileKind,
        *,
        inputs: Iterable[str | Path] = (),
        force: bool = False,
        new_folders: bool = False,
    ) -> OutputFile:
        """Return an output on this machine that may be written; raises as ``output_file`` does.

        Besides ``inputs`` it is no clip of the settings, of a test set, or a built-in one.
        """
        return output_file(
            name,
            kind,
            inputs=(*inputs, *self._sources()),
            protected=self._protected(),
            force=force,
            new_folders=new_folders,
        )

    def output_anywhere(
        self, name: str, kind: FileKind, *, inputs: Iterable[str | Path], force: bool
    ) -> Output:
        """The same for what may also lie in S3."""
        if not name.startswith(S3_SCHEME):
            return self.output(name, kind, inputs=inputs, force=force)
        if name in {str(each) for each in inputs}:
            raise UserError(f"{name} is the input itself; name another output")
        return RemoteOutput(name)

    def _sources(self) -> Iterator[str]:
        sources: list[ClipSource] = []
        # What cannot be read is told by the work itself, where it is needed.
        with suppress(EvocodecError):
            sources += default_clips()
        with suppress(EvocodecError):
            test_sets = current_test_sets()
            sources += [test_sets.source_of(entry) for entry in test_sets.entries]
        with suppress(EvocodecError):
            sources += named_clips(self.lab.settings.evaluation.clips)
        yield from (source.path for source in sources if not source.path.startswith(S3_SCHEME))

    def _protected(self) -> Iterator[Path]:
        kept = self.lab.workspace
        yield from (kept.blobs, kept.records, kept.cache, kept.clip_sets, kept.champions)
        yield from (kept.ledger.with_name(kept.ledger.name + end) for end in ("", "-wal", "-shm"))
        yield self.lab.champions_path
