"""DynamoDB tables: created when missing, and checked before use."""

import time
from dataclasses import dataclass
from typing import Any

from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.store.aws.client import AwsClient, Refused

EXPIRES = "expires_at"
MAX_ITEM_BYTES = 300_000
"""Larger texts go to the blobs: an item may have 400 KB, names and numbers included."""

_ACTIVE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table as it has to be; all keys are strings.

    ``other_range_keys`` are accepted in a table that somebody else made. ``index`` is the name of
    a global index on ``index_keys``.
    """

    name: str
    hash_key: str
    range_key: str = ""
    other_range_keys: tuple[str, ...] = ()
    index: str = ""
    index_keys: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class TableOptions:
    """``ttl``: whether items carry a date after which DynamoDB may delete them."""

    create: bool
    ttl: bool
    kms_key_id: str


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as it is; ``items`` and ``size_bytes`` are what AWS counted some hours ago."""

    name: str
    status: str
    range_key: str
    indexes: tuple[str, ...]
    items: int
    size_bytes: int
    on_demand: bool


def ensure_table(client: AwsClient, spec: TableSpec, options: TableOptions) -> TableFacts:
    """Return a table that is ready, making it first when that is wished.

    Raises:
        UserError: it is missing and shall not be made, has other keys, or access is refused.
        InfrastructureFailure: it does not become ready.
    """
    deadline = time.monotonic() + _ACTIVE_SECONDS
    while True:
        facts = look_at(client, spec)
        if facts is None:
            if not options.create:
                raise missing_table(client, spec.name)
            _create(client, spec, options)
        elif facts.status in {"ACTIVE", "UPDATING"}:
            break
        elif facts.status != "CREATING":
            raise UserError(f"table {spec.name} is {facts.status.lower()}: wait, or name another")
        if time.monotonic() > deadline:
            raise InfrastructureFailure(f"table {spec.name} is still not ready; try it later")
        time.sleep(0.2 if facts is None else 1.0)
    if options.ttl:
        _enable_ttl(client, spec.name)
    return facts


def look_at(client: AwsClient, spec: TableSpec) -> TableFacts | None:
    """Return the table's description, or None. Raises UserError when it has other keys."""
    try:
        answer = client.call(
            f"look at table {spec.name}",
            "describe_table",
            expected={"ResourceNotFoundException"},
            TableName=spec.name,
        )
    except Refused:
        return None
    table: dict[str, Any] = answer["Table"]
    keys = {key["KeyType"]: key["AttributeName"] for key in table["KeySchema"]}
    types = {item["AttributeName"]: item["AttributeType"] for item in table["AttributeDefinitions"]}
    range_key = keys.get("RANGE", "")
    good = keys["HASH"] == spec.hash_key and range_key in {spec.range_key, *spec.other_range_keys}
    if not good or any(types[name] != "S" for name in keys.values()):
        found = " and ".join(f"{name} ({types[name]})" for name in keys.values())
        wanted = " and ".join(f"{name} (S)" for name in (spec.hash_key, spec.range_key) if name)
        raise UserError(
            f"table {spec.name} has the keys {found}, but {wanted} is wanted: it belongs to "
            "something else. Name another table in the settings under store."
        )
    billing = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    return TableFacts(
        name=spec.name,
        status=str(table["TableStatus"]),
        range_key=range_key,
        indexes=tuple(
            index["IndexName"]
            for index in table.get("GlobalSecondaryIndexes", ())
            if index.get("IndexStatus", "ACTIVE") in {"ACTIVE", "UPDATING"}
        ),
        items=int(table.get("ItemCount", 0)),
        size_bytes=int(table.get("TableSizeBytes", 0)),
        on_demand=billing == "PAY_PER_REQUEST",
    )


def missing_table(client: AwsClient, name: str) -> UserError:
    """Return the error for a table that is not there."""
    return UserError(
        f"there is no table {name} in region {client.region} ({client.endpoint}); make it with "
        "`evocodec store tables --create`, or correct the settings under store."
    )


def _create(client: AwsClient, spec: TableSpec, options: TableOptions) -> None:
    names = {spec.hash_key, spec.range_key, *spec.index_keys} - {""}
    arguments: dict[str, Any] = {
        "TableName": spec.name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": "S"} for name in sorted(names)
        ],
        "KeySchema": _keys(spec.hash_key, spec.range_key),
    }
    if spec.index:
        arguments["GlobalSecondaryIndexes"] = [
            {
                "IndexName": spec.index,
                "KeySchema": _keys(*spec.index_keys),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ]
    if options.kms_key_id:
        arguments["SSESpecification"] = {
            "Enabled": True,
            "SSEType": "KMS",
            "KMSMasterKeyId": options.kms_key_id,
        }
    try:
        client.call(
            f"make table {spec.name}",
            "create_table",
            expected={"ResourceInUseException"},
            **arguments,
        )
    except Refused:
        return  # another process is creating it at this moment


def _keys(hash_key: str, range_key: str) -> list[dict[str, str]]:
    keys = [{"AttributeName": hash_key, "KeyType": "HASH"}]
    return [*keys, {"AttributeName": range_key, "KeyType": "RANGE"}] if range_key else keys


def _enable_ttl(client: AwsClient, table: str) -> None:
    doing = f"let items of table {table} expire"
    answer = client.call(doing, "describe_time_to_live", TableName=table)
    found = answer["TimeToLiveDescription"]
    if found.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}:
        if found.get("AttributeName", EXPIRES) != EXPIRES:
            raise UserError(
                f"table {table} lets items expire by {found['AttributeName']}, not {EXPIRES}: "
                "set the days under store. to 0, or name another table"
            )
        return
    try:
        client.call(
            doing,
            "update_time_to_live",
            expected={"ValidationException"},
            TableName=table,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES},
        )
    except Refused as refusal:
        text = str(refusal.answer.get("Error", {}).get("Message", ""))
        if "already enabled" not in text:  # another process was first
            raise UserError(f"cannot {doing}: {text}") from refusal


def expiry(days: float) -> dict[str, dict[str, str]]:
    """Return the attribute of an item that may be deleted after so many days; 0 means never."""
    return {EXPIRES: {"N": str(int(time.time() + days * 86_400))}} if days else {}
