"""The laboratory: an opened workspace, with the parts that the use cases share."""

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from evocodec.app.resolver import Resolver
from evocodec.app.stores import open_stores
from evocodec.app.workspace import Workspace
from evocodec.config import Settings
from evocodec.input_file import user_path
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger
from evocodec.store.records import RecordStore
from evocodec.video.data_options import use_options
from evocodec.views.snapshot import Snapshots

if TYPE_CHECKING:  # git's client takes its time to import
    from evocodec.champions.repository import ChampionRepository


class Laboratory:
    """Settings, stores, versions, and a resolver of names; a context manager.

    Use cases are functions that take a laboratory: see ``runs``, ``evaluation``, ``file_codec`` and
    ``brief``. Any thread may read.
    """

    def __init__(self, settings: Settings, ledger: Ledger, blobs: BlobStore, records: RecordStore):
        self.settings = settings
        self.workspace = Workspace.of(settings)
        self.ledger = ledger
        self.blobs = blobs
        self.records = records
        self.resolver = Resolver(
            ledger,
            blobs,
            lambda: self.champions,
            self.workspace,
            Snapshots(self.workspace.view_snapshots),
        )

    @classmethod
    def open(cls, settings: Settings) -> "Laboratory":
        """Open the workspace that the settings name, making it when it is not there.

        Raises:
            UserError: the workspace cannot be written, belongs to a newer version, or the tables
                and the bucket that the settings name cannot be used.
            InfrastructureFailure: DynamoDB or S3 does not answer.
        """
        workspace = Workspace.of(settings)
        workspace.prepare()
        use_options(workspace.data_options(settings))
        stores = open_stores(settings, workspace)
        return cls(settings, stores.ledger, stores.blobs, stores.records)

    def __enter__(self) -> "Laboratory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the ledger."""
        self.ledger.close()

    @cached_property
    def champions(self) -> "ChampionRepository":
        """The repository of adopted versions."""
        from evocodec.champions.repository import ChampionRepository

        remote = self.settings.champions.remote or None
        return ChampionRepository(self.champions_path, remote=remote)

    @property
    def champions_path(self) -> Path:
        """The folder of that repository."""
        configured = self.settings.champions.path
        return user_path(configured) if configured else self.workspace.champions
