"""The static gate: reads a program's syntax tree, reports why it may not run, executes nothing."""

import ast
from collections.abc import Iterator
from itertools import islice

from evocodec.codec.program import Program
from evocodec.domain.candidate import Finding, Review
from evocodec.domain.vocabulary import GateRule
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.review.gate import Gate
from evocodec.sandbox.review.literal_size import check_literals
from evocodec.sandbox.review.name_scopes import children_of, scoped_tree
from evocodec.sandbox.review.step_budget import ReviewLimitError, StepBudget

_MAX_FINDINGS = 50
_MAX_SORTED = 2_000  # findings; a program that has more shows 50 of these
_FORMS = ({"encode": 3, "decode": 2}, {"compress_video_frame": 3, "decompress_video_frame": 3})


def review_program(program: Program, policy: Policy) -> Review:
    """Return the objections of the static gate; an accepted review has no findings."""
    size = len(program.text.encode("utf-8", "replace"))
    if size > policy.max_program_bytes:
        message = f"the program has {size} bytes; at most {policy.max_program_bytes} are allowed"
        return Review((Finding(GateRule.SIZE, message),))
    try:
        tree = program.tree
    except SyntaxError as error:
        return Review(
            (Finding(GateRule.SYNTAX, f"does not parse: {error.msg}", error.lineno or 0),)
        )
    except (ValueError, RecursionError, MemoryError) as error:
        return Review(
            (Finding(GateRule.SYNTAX, f"does not parse: {type(error).__name__}: {error}"),)
        )
    budget = StepBudget()
    try:
        scoped = scoped_tree(tree, budget)
        gate = Gate(policy, scoped, budget).findings()
        findings = {*_check_interface(tree), *islice(gate, _MAX_SORTED)}
    except ReviewLimitError as limit:
        return Review((Finding(GateRule.REVIEW_LIMIT, str(limit)),))
    findings.update(
        check_literals(
            program.text,
            (node for node, _ in scoped.nodes),
            max_literal_bytes=policy.max_literal_bytes,
        )
    )
    ordered = sorted(findings, key=lambda finding: (finding.line, finding.rule, finding.message))
    return Review(tuple(ordered[:_MAX_FINDINGS]))


# -- the interface -------------------------------------------------------------------------------


def _check_interface(tree: ast.Module) -> Iterator[Finding]:
    functions = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    form = next((form for form in _FORMS if any(name in functions for name in form)), _FORMS[0])
    for name, arity in form.items():
        if name not in functions:
            yield Finding(
                GateRule.INTERFACE, f"define {_signature(name)} at the top level of the file"
            )
            continue
        node = functions[name]
        if isinstance(node, ast.AsyncFunctionDef):
            yield Finding(GateRule.INTERFACE, f"{name} must not be async", node.lineno)
        elif not _takes(node.args, arity):
            message = f"{name} must take {arity} arguments: {_signature(name)}"
            yield Finding(GateRule.INTERFACE, message, node.lineno)
        elif not _gives_something(node):
            what = "yield its packets" if name == "encode" else "yield its frames"
            what = what if arity == 2 or name == "encode" else "return its result"
            yield Finding(GateRule.INTERFACE, f"{name} must {what}", node.lineno)


def _signature(name: str) -> str:
    return {
        "encode": "encode(frames, stream, qp)",
        "decode": "decode(packets, stream)",
        "compress_video_frame": "compress_video_frame(frame, frame_index, config)",
        "decompress_video_frame": "decompress_video_frame(data, frame_index, config)",
    }[name]


def _takes(arguments: ast.arguments, count: int) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required = positional - len(arguments.defaults)
    if any(default is None for default in arguments.kw_defaults):
        return False
    return required <= count and (positional >= count or arguments.vararg is not None)


def _gives_something(function: ast.FunctionDef) -> bool:
    stack: list[ast.AST] = [*function.body]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if isinstance(node, ast.Return) and node.value is not None:
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            stack += children_of(node)
    return False
