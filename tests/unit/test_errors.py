"""One tree of errors: whoever calls a part can tell whose fault it was."""

import ast
import builtins
from collections.abc import Iterator

from evocodec.domain import errors
from tests.support.source_trees import name_of, nodes_of, product_files

INSIDE_ONE_PACKAGE = {
    "agents/reading/characters.py:AmbiguousTextError": "the reply is refused with its message",
    "agents/reading/loose_json.py:NotJsonError": "the reader looks for another object",
    "agents/reading/edits.py:MalformedEditError": "the reply is refused with its message",
    "evocodec/sandbox/jobs.py:ServerLostError": "the launcher tries again with a new fork server",
    "evocodec/sandbox/parser_pool.py:ParserLimitError": "the review makes a finding of it",
    "evocodec/sandbox/parser_pool.py:_ParserCrashedError": "the pool starts another process",
    "evocodec/sandbox/parser_pool.py:_ParserLostError": "the pool starts another process",
    "evocodec/sandbox/review/step_budget.py:ReviewLimitError": "the review makes a finding of it",
    "evocodec/models/call.py:Cancelled": "the gateway books the request, and says why",
    "evocodec/models/failure.py:CallFailed": "the gateway tries again, or translates it",
    "evocodec/store/aws/client.py:Refused": "an answer that the caller asked to be told",
    "evocodec/store/aws/client.py:_TryAgainError": "the call is repeated while there is time",
    "evocodec/video/s3_client.py:BrokenAnswerError": "the rest is requested again",
    "evocodec/execution/worker_contract.py:TaskLostError": "the dispatch tries the task again",
    "evocodec/execution/workers/driver_client.py:LinkLostError": "the cluster reconnects",
    "evocodec/output_file.py:_KeptError": "the writer keeps the finished file, and tells where",
    "evocodec/guest/framing.py:FramingError": "the supervisor names what broke the protocol",
    "evocodec/guest/wire.py:BadOutputError": "the job tells it to the supervisor as bad output",
}
"""Exceptions outside the tree, and where each ends."""


def classes() -> Iterator[tuple[str, str, list[str]]]:
    """File, name and bases of every class."""
    for path in product_files():
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef):
                yield name_of(path), node.name, [ast.unparse(base) for base in node.bases]


def is_exception(name: str) -> bool:
    """Whether a name is of an exception, ours or Python's own."""
    found = getattr(errors, name, None) or getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def test_every_exception_is_in_the_tree_or_ends_inside_its_package() -> None:
    known: set[str] = {
        name for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.EvocodecError)
    }  # fmt: skip
    outside: set[str] = set()
    seen = 0
    for file, name, bases in classes():
        if not any(is_exception(base) or base in known for base in bases):
            continue
        seen += 1
        if known & set(bases):
            known.add(name)
        elif name != "EvocodecError":
            outside.add(f"{file}:{name}")
    assert seen >= 15
    assert outside == set(INSIDE_ONE_PACKAGE)


def test_a_stop_or_a_takeover_is_no_mistake_of_the_user() -> None:
    for kind in (errors.Interrupted, errors.SupersededError):
        assert issubclass(kind, errors.EvocodecError)
        assert not issubclass(kind, ValueError | OSError)
