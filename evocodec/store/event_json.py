"""Events to JSON and back, checked against their types.

The JSON is strict: not-a-number and infinities are the strings ``NaN`` and ``Infinity``. Reading is
tolerant towards the future: fields that are not known are dropped, fields that are missing take
their defaults, and an event of an unknown kind is None.
"""

import logging
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from evocodec.domain.errors import UserError
from evocodec.domain.events import Event, RunStarted
from evocodec.store.old_events import upgrade

_log = logging.getLogger(__name__)


@cache
def _adapter(not_a_number: Literal["strings", "null"] = "strings") -> TypeAdapter[Event]:
    # Built at first use: it takes a while, and most commands read no event.
    return TypeAdapter(
        Annotated[Event, Field(discriminator="kind")],
        config=ConfigDict(ser_json_inf_nan=not_a_number),
    )


def event_to_json(event: Event) -> str:
    """Return one line of JSON; text that is not valid Unicode gets replacement characters."""
    try:
        return _adapter().dump_json(event).decode("utf-8")
    except PydanticSerializationError:
        # A reply or a traceback may hold lone surrogates; that must not stop a run.
        plain = _valid_unicode(_adapter().dump_python(event))
        return to_json(plain, inf_nan_mode="strings").decode("utf-8")


def event_to_ascii_json(event: Event) -> str:
    """Return one line of ASCII JSON for other programs, with null for what is no number."""
    try:
        return _adapter("null").dump_json(event, ensure_ascii=True).decode("ascii")
    except PydanticSerializationError:  # lone surrogates
        plain = _valid_unicode(_adapter().dump_python(event))
        return to_json(plain, inf_nan_mode="null", ensure_ascii=True).decode("ascii")


def event_from_json(text: str) -> Event | None:
    """Return the event, or None (and a log line, once) when its kind is not known here.

    Raises UserError for an event of a known kind that is damaged or of an incompatible version.
    """
    try:
        event = _adapter().validator.validate_json(text)  # a run has a hundred thousand
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "union_tag_invalid":
            _warn_of_unknown_kind(str(first.get("ctx", {}).get("tag", "")))
            return None
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"an event in the ledger cannot be read ({place}: {first['msg']}). It is damaged, or a "
            "newer evocodec wrote it: upgrade evocodec and try again"
        ) from error
    return upgrade(event) if type(event) is RunStarted else event


@cache
def _warn_of_unknown_kind(kind: str) -> None:
    _log.warning("skipping events of kind %r: a newer evocodec wrote them", kind)


def _valid_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_valid_unicode(key): _valid_unicode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_valid_unicode(item) for item in value]
    return value
