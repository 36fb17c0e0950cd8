"""Paths of all files in a workspace folder."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from evocodec.config import Settings, bytes_of_mib
from evocodec.domain.errors import UserError
from evocodec.input_file import user_path
from evocodec.video.data_options import DataOptions


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths of one workspace; ``prepare`` makes the folders."""

    root: Path

    @classmethod
    def of(cls, settings: Settings) -> "Workspace":
        """The workspace that the settings name, as an absolute path."""
        return cls(Path(os.path.abspath(user_path(str(settings.workspace)))))

    @property
    def ledger(self) -> Path:
        """The SQLite ledger."""
        return self.root / "ledger.sqlite"

    @property
    def blobs(self) -> Path:
        """Programs, prompts and replies by hash."""
        return self.root / "blobs"

    @property
    def records(self) -> Path:
        """Experiment records, a JSON file each."""
        return self.root / "experiments"

    @property
    def champions(self) -> Path:
        """The git repository of adopted versions."""
        return self.root / "champions"

    @property
    def cache(self) -> Path:
        """Anchor curves, and other files that can be computed again."""
        return self.root / "cache"

    @property
    def view_snapshots(self) -> Path:
        """Snapshots of long runs' views."""
        return self.cache / "views"

    @property
    def clip_sets(self) -> Path:
        """Named test sets; may be edited, copied and committed."""
        return self.root / "clips.toml"

    def data_options(self, settings: Settings) -> DataOptions:
        """Video options of this process."""
        return DataOptions(
            cache_folder=self.cache / "video",
            cache_bytes=bytes_of_mib(settings.data.cache_mib),
            s3_endpoint_url=settings.data.s3_endpoint_url,
            test_sets=self.clip_sets,
        )

    def run(self, run_id: str) -> Path:
        """A run's own folder: its log and plots."""
        return self.root / "runs" / run_id

    def prepare(self) -> None:
        """Make the folder, and say plainly when that, or a temporary file, cannot be."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not os.access(self.root, os.W_OK):
                raise PermissionError(f"no permission to write in {self.root}")
        except OSError as error:
            if isinstance(error, FileExistsError | NotADirectoryError):
                reason = "a file is in the place of a folder"
            else:
                reason = error.strerror or str(error)
            message = (
                f"the workspace {self.root} cannot be used: {reason}. "
                "Name another one with --workspace FOLDER"
            )
            raise UserError(message) from error
        try:
            tempfile.gettempdir()
        except FileNotFoundError as error:
            message = (
                "no temporary file can be written: /tmp, /var/tmp and the current folder are "
                "read-only or full. Set TMPDIR to a folder that can be written"
            )
            raise UserError(message) from error
