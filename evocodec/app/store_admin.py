"""Store administration: inspect stores, check them, migrate them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from evocodec.app.stores import (
    Backend,
    all_tables,
    aws_client,
    open_blobs,
    open_stores,
    table_options,
)
from evocodec.app.workspace import Workspace
from evocodec.config import Settings
from evocodec.config_sections import StoreSettings
from evocodec.domain.check import Check
from evocodec.domain.errors import ConfigError, EvocodecError
from evocodec.store.migrate import Migration, Moved, migrate

_PROBE = b"evocodec store check"


@dataclass(frozen=True, slots=True)
class Resource:
    """A table or the bucket: ``state`` is ``missing``, ``made`` or what AWS calls it."""

    kind: str
    name: str
    state: str
    items: int | None = None
    size_bytes: int | None = None


def resources(settings: Settings, *, create: bool) -> tuple[Resource, ...]:
    """Look at the two tables and the bucket, making what is missing when that is wished.

    Raises:
        UserError: one of them belongs to something else, or access is refused.
    """
    from evocodec.store.aws.tables import ensure_table, look_at

    store = settings.store
    client = aws_client(store, "dynamodb")
    found: list[Resource] = []
    for spec in all_tables(store):
        facts, made = look_at(client, spec), False
        if facts is None and create:
            options = table_options(store, ttl=store.ttl_days > 0, create=True)
            facts = ensure_table(client, spec, options)
            made = True
        if facts is None:
            found.append(Resource("table", spec.name, "missing"))
        else:
            state = "made" if made else facts.status.lower()
            found.append(Resource("table", spec.name, state, facts.items, facts.size_bytes))
    if store.bucket:
        found.append(_bucket(store, create=create))
    return tuple(found)


def _bucket(store: StoreSettings, *, create: bool) -> Resource:
    client = aws_client(store, "s3")
    from evocodec.store.aws.blobs import bucket_exists, make_bucket

    if bucket_exists(client, store.bucket):
        return Resource("bucket", store.bucket, "active")
    if not create:
        return Resource("bucket", store.bucket, "missing")
    make_bucket(client, store.bucket)
    return Resource("bucket", store.bucket, "made")


def check_stores(settings: Settings, workspace: Workspace) -> tuple[Check, ...]:
    """Try what a run needs: read, and write a note to the tables and a few bytes to the blobs."""
    if settings.store.backend == "sqlite":
        return (_guarded("stores", lambda: _check_files(settings, workspace)),)
    checks = [("credentials", lambda: _check_credentials(settings))]
    checks += [("tables", lambda: _check_tables(settings))]
    checks += [("blobs", lambda: _check_blobs(settings, workspace))]
    return tuple(_guarded(name, check) for name, check in checks)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except EvocodecError as error:
        return Check(name, "fail", str(error))


def _check_files(settings: Settings, workspace: Workspace) -> Check:
    stores = open_stores(settings, workspace, "sqlite")
    try:
        runs = len(stores.ledger.runs())
    finally:
        stores.ledger.close()
    return Check("stores", "ok", f"SQLite and files in {workspace.root}, {runs} runs")


def _check_credentials(settings: Settings) -> Check:
    client = aws_client(settings.store, "dynamodb")
    fix = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run under a role"
    source = client.credential_source()
    if not source:
        return Check("credentials", "fail", "none found", fix)
    return Check("credentials", "ok", f"from {source}; region {client.region}")


def _check_tables(settings: Settings) -> Check:
    client = aws_client(settings.store, "dynamodb")
    found = [place for place in resources(settings, create=False) if place.kind == "table"]
    missing = [place.name for place in found if place.state == "missing"]
    if missing:
        fix = "evocodec store tables --create"
        return Check("tables", "fail", f"missing: {', '.join(missing)}", fix)
    store = settings.store
    began = time.monotonic()
    table = store.ledger_table
    note = {"run": {"S": "check"}, "item": {"S": "written"}}
    client.call(f"write to table {table}", "put_item", TableName=table, Item=note)
    milliseconds = (time.monotonic() - began) * 1000
    names = ", ".join(place.name for place in found)
    return Check(
        "tables", "ok", f"{names} at {client.endpoint}; a write takes {milliseconds:.0f} ms"
    )


def _check_blobs(settings: Settings, workspace: Workspace) -> Check:
    store = settings.store
    if not store.bucket:
        fix = "set store.bucket: files on this machine are lost with it"
        return Check("blobs", "warn", f"files in {workspace.blobs}", fix)
    blobs = open_blobs(store, workspace)
    began = time.monotonic()
    blobs.get(blobs.put(_PROBE))
    milliseconds = (time.monotonic() - began) * 1000
    place = f"s3://{store.bucket}/{store.prefix}"
    return Check("blobs", "ok", f"{place}; writing and reading take {milliseconds:.0f} ms")


def migrate_stores(
    settings: Settings,
    workspace: Workspace,
    *,
    origin: Backend,
    runs: tuple[str, ...] = (),
    dry_run: bool = False,
    on_moved: Callable[[Moved], None] = lambda _moved: None,
) -> Migration:
    """Copy from the workspace's files to DynamoDB and S3, or back; see ``migrate``.

    Raises:
        ConfigError: no bucket is set: blobs would stay where they are.
    """
    if not settings.store.bucket:
        raise ConfigError(
            "store.bucket is not set, so that blobs would have no place in S3; name it with "
            "--set store.bucket=NAME"
        )
    other: Backend = "sqlite" if origin == "dynamodb" else "dynamodb"
    source = open_stores(settings, workspace, origin, create=False)
    try:
        target = open_stores(settings, workspace, other, create=not dry_run)
        try:
            return migrate(source, target, runs=runs, dry_run=dry_run, on_moved=on_moved)
        finally:
            target.ledger.close()
    finally:
        source.ledger.close()
