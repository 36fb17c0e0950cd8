"""Errors of endpoints, read from status, headers and body, and named as the record names them."""

import html
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime

from evocodec.domain.vocabulary import CallOutcome
from evocodec.models import wordings
from evocodec.models.failure import Billing, CallFailed, ErrorFacts, Sizes

_BY_STATUS = {
    401: CallOutcome.AUTHENTICATION,
    402: CallOutcome.QUOTA,
    403: CallOutcome.AUTHENTICATION,
    404: CallOutcome.NOT_FOUND,
    405: CallOutcome.NOT_FOUND,  # a URL that is no chat completion
    410: CallOutcome.NOT_FOUND,
    498: CallOutcome.RATE_LIMITED,  # Groq: flex tier capacity exceeded
}
_BY_CODE = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 402,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "overloaded_error": 503,
    "server_error": 500,
    "api_error": 500,
    "internal_server_error": 500,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
}
_MESSAGES = ("message", "detail", "msg", "error_msg", "error_message", "reason", "title")
_CODES = ("code", "type", "status", "error_code", "statusCode", "status_code")
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_LONGEST_BODY = 20_000  # characters of an error that are looked at
_SPAN = (
    r"(?=\d)"  # one of the three at least
    r"(?:(\d+(?:\.\d+)?) ?h(?:(?:ou)?rs?)? ?)?"
    r"(?:(\d+(?:\.\d+)?) ?m(?:in(?:ute)?s?)?(?![a-z]) ?)?"
    r"(?:(\d+(?:\.\d+)?) ?s(?:ec(?:ond)?s?)?(?![a-z]))?"
)
_IN_WORDS = re.compile(
    r"(?:try again|retry|available|resets?|wait)\W+(?:\w+\W+)?(?:in|after|for)?\W*"
    rf"(?:(?P<ms>\d+(?:\.\d+)?) ?ms\b|(?P<span>{_SPAN}))",
    re.IGNORECASE,
)
_DELAY = re.compile(r"retry_?(?:delay|after)\w*\W{1,6}(?P<seconds>\d+(?:\.\d+)?)", re.IGNORECASE)
_SPAN_ALONE = re.compile(rf"\s*(?:(?P<ms>\d+(?:\.\d+)?) ?ms|(?P<span>{_SPAN}))\s*", re.IGNORECASE)


def error_from(status: int, headers: Mapping[str, str], body: str) -> CallFailed:
    """Return what an answer with an error status means."""
    facts = read_error(status, body)
    return classify(facts, body, retry_after=retry_after(headers, body, status))


def error_in_answer(answer: Mapping[str, object], body: str) -> CallFailed | None:
    """Return the error that a body carries which came with status 200, or None.

    Its code says what the status should have been (inspect_ai #1534, aider #3550).
    """
    if not (answer.get("error") or ("choices" not in answer and _message_of(answer))):
        return None
    facts = read_error(0, json.dumps(answer))
    status = next(filter(None, map(_status_of, facts.codes)), 0)
    told = ErrorFacts(status, facts.message, facts.codes, facts.parameter)
    failed = classify(told, body, retry_after=retry_after({}, body, status or 429))
    failed.billing = Billing.UNKNOWN if failed.retriable else Billing.NOTHING
    return failed


def classify(facts: ErrorFacts, body: str, *, retry_after: float | None) -> CallFailed:
    """Return the failure that an error's facts amount to."""
    text = " ".join(
        (facts.message, *facts.codes, body[:_LONGEST_BODY] if not facts.message else "")
    )
    name, sizes = _named(facts, text, waits=retry_after is not None)
    return CallFailed(
        name,
        facts.message or f"status {facts.status}",
        retriable=name in (CallOutcome.RATE_LIMITED, CallOutcome.SERVER_ERROR),
        retry_after=retry_after,
        facts=facts,
        sizes=sizes,
    )


def _named(facts: ErrorFacts, text: str, *, waits: bool) -> tuple[CallOutcome, Sizes]:
    status = facts.status
    too_long = None
    if status in (413, 429):
        too_long = wordings.find(wordings.TOO_LARGE_FOR_RATE, text)
    if too_long is None and (status in (0, 400, 404, 413, 422) or status >= 500):
        # llama.cpp says so with status 500 (#15780).
        too_long = wordings.find(wordings.CONTEXT, text)
    if too_long is not None:
        limit, prompt = (wordings.number(too_long, name) for name in ("limit", "prompt"))
        return CallOutcome.CONTEXT_OVERFLOW, Sizes(limit, prompt)
    return _by_status(status, text, waits=waits), Sizes()


def _by_status(status: int, text: str, *, waits: bool) -> CallOutcome:
    known: tuple[tuple[CallOutcome, tuple[wordings.Wording, ...]], ...] = ()
    usual = _BY_STATUS.get(status, CallOutcome.BAD_REQUEST)
    if status == 0:
        known, usual = wordings.BY_WORDS, CallOutcome.SERVER_ERROR
    elif status in (400, 413, 422):
        known = wordings.OF_BAD_REQUESTS
    elif status in (403, 429):
        usual = CallOutcome.RATE_LIMITED if status == 429 else CallOutcome.AUTHENTICATION
        # Gemini says the same of a minute's quota, and then how long to wait.
        known = () if waits else ((CallOutcome.QUOTA, wordings.QUOTA),)
    elif status in (408, 409, 425) or status >= 500:
        usual = CallOutcome.SERVER_ERROR
    elif 300 <= status < 400:
        usual = CallOutcome.NOT_FOUND
    return next((name for name, words in known if wordings.find(words, text)), usual)


def read_error(status: int, body: str) -> ErrorFacts:
    """Return what an error's body says, in whatever form: OpenAI's, FastAPI's, a page, a word."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return ErrorFacts(status, _plain(body))
    if isinstance(tree, list) and tree:  # Gemini wraps its error in a list
        tree = tree[0]
    if not isinstance(tree, Mapping):
        return ErrorFacts(status, _plain(str(tree)))
    message = _message_of(tree) or _plain(body)
    levels = list(_levels(tree))
    codes = [str(level[name]) for level in levels for name in _CODES if _simple(level.get(name))]
    parameter = next((str(level["param"]) for level in levels if level.get("param")), "")
    return ErrorFacts(status, message, tuple(codes), parameter or _location(tree))


def _levels(tree: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the objects in which fields of an error are looked for, the innermost first."""
    error = tree.get("error")
    if isinstance(error, Mapping):
        for name in ("innererror", "metadata"):
            below = error.get(name)
            if isinstance(below, Mapping):
                yield below
        yield error
    yield tree


def _message_of(tree: Mapping[str, object]) -> str:
    said = []
    error = tree.get("error")
    if isinstance(error, str):
        said.append(error)
    for level in _levels(tree):
        for name in _MESSAGES:
            value = level.get(name)
            if isinstance(value, str) and value.strip() and value not in said:
                said.append(value)
            elif isinstance(value, list):  # FastAPI: what is wrong with each field
                said.extend(_field_error(each) for each in value[:5])
        # OpenRouter: what the provider behind it said.
        raw = level.get("raw")
        if isinstance(raw, str) and raw.strip():
            said.append(raw)
    # The message of the error itself is said first.
    return " ".join(sorted(said, key=lambda text: text is not _own(tree)))[:_LONGEST_BODY]


def _own(tree: Mapping[str, object]) -> object:
    error = tree.get("error")
    return error.get("message") if isinstance(error, Mapping) else tree.get("message")


def _field_error(entry: object) -> str:
    if not isinstance(entry, Mapping):
        return str(entry)
    where = entry.get("loc")
    path = ".".join(map(str, where)) if isinstance(where, list) else ""
    return f"{path}: {entry.get('msg', '')} ({entry.get('type', '')})"


def _location(tree: Mapping[str, object]) -> str:
    detail = tree.get("detail")
    if isinstance(detail, list):
        for entry in detail:
            where = entry.get("loc") if isinstance(entry, Mapping) else None
            if isinstance(where, list) and where:
                return str(where[1] if len(where) > 1 else where[0])
    return ""


def _simple(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _status_of(code: str) -> int:
    text = code.strip().lower()
    if text.isascii() and text.isdigit() and 400 <= int(text[:6]) < 600:
        return int(text)
    return _BY_CODE.get(text, 0)


def _plain(body: str) -> str:
    """Return the words of a body that is no JSON: of a page its title, else its text."""
    body = body[:_LONGEST_BODY]
    if "<" not in body:
        return body.strip()
    title = _TITLE.search(body)
    text = html.unescape(" ".join(_TAG.sub(" ", title[1] if title else body).split()))
    return f"a web page: {text}" if text else "a web page"


def retry_after(headers: Mapping[str, str], body: str, status: int) -> float | None:
    """Return the seconds that a server asks to wait, in any of the forms in which they do.

    ``Retry-After`` in seconds or as a date (RFC 9110, 10.2.3), ``retry-after-ms`` (Azure, OpenAI),
    a rate's reset (``x-ratelimit-reset-tokens: 1m2s``, ``ratelimit-reset: 34``, OpenRouter's time
    of day in milliseconds), Google's ``retryDelay``, and words: "try again in 1.2s".
    """
    in_header = _seconds(headers.get("retry-after-ms"), scale=0.001)
    if in_header is None:
        in_header = _seconds(headers.get("retry-after"))
    if in_header is None:
        in_header = _until_date(headers.get("retry-after"))
    if in_header is not None:
        return in_header
    if status not in (408, 413, 429) and status < 500:
        return None
    said = _said(body[:_LONGEST_BODY])
    return said if said is not None else _until_reset(headers)


def _until_date(value: str | None) -> float | None:
    if not value:
        return None
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _said(body: str) -> float | None:
    delay = _DELAY.search(body)
    if delay:
        return _seconds(delay["seconds"])
    return next(filter(None, map(_span, _IN_WORDS.finditer(body))), None)


def _span(found: re.Match[str]) -> float | None:
    if found["ms"]:
        return float(found["ms"]) / 1000
    parts = found.groups()[-3:]
    if not any(parts):
        return None
    return sum(float(part or 0) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))


def _until_reset(headers: Mapping[str, str]) -> float | None:
    waits = []
    for name, value in headers.items():
        lower = name.lower()
        if not re.fullmatch(r"(?:x-)?rate-?limit-reset(?:-(?:requests|tokens))?", lower):
            continue
        left = headers.get(lower.replace("reset", "remaining"))
        seconds = _seconds(value)
        if seconds is None:
            alone = _SPAN_ALONE.fullmatch(value)
            seconds = _span(alone) if alone else None
        elif seconds > 1e11:
            seconds = max(0.0, seconds / 1000 - time.time())
        elif seconds > 1e8:
            seconds = max(0.0, seconds - time.time())
        if seconds is not None and left in (None, "0"):
            waits.append(seconds)
    return max(waits, default=None)


def _seconds(value: str | None, *, scale: float = 1.0) -> float | None:
    try:
        seconds = float(value or "") * scale
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
