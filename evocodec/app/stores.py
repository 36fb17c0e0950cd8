"""Opens the stores that the settings name: files in the workspace, or DynamoDB and S3."""

from typing import TYPE_CHECKING, Literal

from evocodec.app.workspace import Workspace
from evocodec.config import Settings, bytes_of_mib
from evocodec.config_sections import StoreSettings
from evocodec.domain.errors import UserError
from evocodec.store.blobs import FileBlobStore
from evocodec.store.file_records import FileRecordStore
from evocodec.store.migrate import ListedBlobs, Stores
from evocodec.store.sqlite.ledger import SqliteLedger

if TYPE_CHECKING:
    from evocodec.store.aws.blobs import S3Options
    from evocodec.store.aws.client import AwsClient, AwsOptions, Service
    from evocodec.store.aws.tables import TableOptions, TableSpec

Backend = Literal["sqlite", "dynamodb"]


def open_stores(
    settings: Settings,
    workspace: Workspace,
    backend: Backend | None = None,
    *,
    create: bool = True,
) -> Stores:
    """Open ledger, blobs and records: as the settings choose, or those of a backend.

    With ``create=False`` no table is made, even if the settings allow it.

    Raises:
        UserError: a table or the bucket is missing or of another kind, or access is refused.
        InfrastructureFailure: the stores do not answer.
    """
    if (backend or settings.store.backend) == "dynamodb":
        return _open_aws(settings.store, workspace, create=create)
    return Stores(
        SqliteLedger(workspace.ledger),
        FileBlobStore(workspace.blobs),
        FileRecordStore(workspace.records),
    )


def record_place(store: StoreSettings, workspace: Workspace, experiment_id: str) -> str:
    """Location of an experiment record, for people: a file, or a table and its key."""
    if not experiment_id:
        return ""
    if store.backend == "dynamodb":
        return f"{experiment_id} in table {store.records_table}"
    return str(workspace.records / f"{experiment_id}.json")


def _open_aws(store: StoreSettings, workspace: Workspace, *, create: bool) -> Stores:
    client = aws_client(store, "dynamodb")
    from evocodec.store.aws.ledger import DynamoLedger, ledger_table
    from evocodec.store.aws.records import DynamoRecordStore, records_table
    from evocodec.store.aws.tables import ensure_table

    blobs = open_blobs(store, workspace)
    wanted = store.create_tables and create
    tables = table_options(store, ttl=store.ttl_days > 0, create=wanted)
    ensure_table(client, ledger_table(store.ledger_table), tables)
    records = ensure_table(client, records_table(store.records_table), tables)
    return Stores(
        DynamoLedger(client, store.ledger_table, blobs, ttl_days=store.ttl_days),
        blobs,
        DynamoRecordStore(client, records, blobs, ttl_days=store.ttl_days),
    )


def open_blobs(store: StoreSettings, workspace: Workspace) -> ListedBlobs:
    """Open the bucket that is named, or else the workspace's files."""
    if not store.bucket:
        return FileBlobStore(workspace.blobs)
    client = aws_client(store, "s3")
    from evocodec.store.aws.blobs import S3BlobStore, check_bucket

    check_bucket(client, store.bucket)
    return S3BlobStore(client, s3_options(store))


def s3_options(store: StoreSettings) -> "S3Options":
    """Options of blobs in the bucket."""
    from evocodec.store.aws.blobs import S3Options

    return S3Options(
        store.bucket,
        store.prefix,
        store.encryption,
        store.kms_key_id,
        bytes_of_mib(store.part_mib),
    )


def aws_client(store: StoreSettings, service: "Service") -> "AwsClient":
    """Connect to a service as the settings say. Raises UserError without boto3."""
    try:
        from evocodec.store.aws.client import connect
    except ImportError as error:
        raise UserError(
            "DynamoDB and S3 need boto3, which is not installed; run `pip install 'evocodec[aws]'`"
        ) from error
    return connect(service, aws_options(store, service))


def aws_options(store: StoreSettings, service: "Service") -> "AwsOptions":
    """AWS region, profile and retry time from the settings."""
    from evocodec.store.aws.client import AwsOptions

    url = store.s3_endpoint_url if service == "s3" else store.dynamodb_endpoint_url
    return AwsOptions(store.region, url, store.retry_seconds)


def table_options(store: StoreSettings, *, ttl: bool, create: bool | None = None) -> "TableOptions":
    """Options for creating a table: from the settings, or from ``create`` if given."""
    from evocodec.store.aws.tables import TableOptions

    wanted = store.create_tables if create is None else create
    return TableOptions(create=wanted, ttl=ttl, kms_key_id=store.kms_key_id)


def all_tables(store: StoreSettings) -> "tuple[TableSpec, ...]":
    """The two tables, as they have to be."""
    from evocodec.store.aws.ledger import ledger_table
    from evocodec.store.aws.records import records_table

    return ledger_table(store.ledger_table), records_table(store.records_table)
