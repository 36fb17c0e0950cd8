"""The static gate: reads a program's syntax tree, reports why it may not run, executes nothing."""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from evocodec.codec.program import Program
from evocodec.domain.candidate import Finding, Review
from evocodec.domain.vocabulary import GateRule
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.review import static_rules as rules
from evocodec.sandbox.review.literal_size import check_literals
from evocodec.sandbox.review.name_scopes import Scope, children_of, nodes_with_scopes
from evocodec.sandbox.review.static_rules import Rule

_Objection: TypeAlias = tuple[GateRule, str]  # the rule, and what is wrong

_MAX_FINDINGS = 50
_MAX_NODES = 200_000
_DUNDER = re.compile(r"__\w+__")
_NUMBA_SIGNATURE = re.compile(r"[A-Za-z0-9_\s\[\]():,.*=]*")
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
    nodes = nodes_with_scopes(tree)
    if len(nodes) > _MAX_NODES:
        message = f"the program has {len(nodes)} syntax nodes; at most {_MAX_NODES} are allowed"
        return Review((Finding(GateRule.SIZE, message),))
    literals = check_literals(
        program.text, (node for node, _ in nodes), max_literal_bytes=policy.max_literal_bytes
    )
    findings = {*_check_interface(tree), *_Gate(policy, nodes).findings(), *literals}
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


# -- the gate ------------------------------------------------------------------------------------


class _Gate:
    """One pass over all nodes; each check yields findings and is independent of the others."""

    def __init__(self, policy: Policy, nodes: list[tuple[ast.AST, Scope]]) -> None:
        self._policy = policy
        self._nodes = nodes
        # Names that are only the start of ``a.b``, or only the function of a call.
        self._bases = {id(n.value) for n, _ in nodes if isinstance(n, ast.Attribute)}
        self._called = {id(n.func) for n, _ in nodes if isinstance(n, ast.Call)}

    def findings(self) -> Iterator[Finding]:
        for node, scope in self._nodes:
            line = getattr(node, "lineno", 0)
            for rule, message in self._check(node, scope):
                if rule == GateRule.LIBRARY_CODEC and self._policy.allow_library_codecs:
                    continue
                yield Finding(rule, message, line)

    def _check(self, node: ast.AST, scope: Scope) -> Iterator[_Objection]:
        match node:
            case ast.Import():
                for alias in node.names:
                    yield from self._check_import(alias.name)
            case ast.ImportFrom():
                yield from self._check_from_import(node)
            case ast.Attribute():
                yield from self._check_attribute(node, scope)
            case ast.Name():
                yield from self._check_name(node, scope)
            case ast.Call():
                yield from self._check_call(node, scope)
            case ast.Constant(value=str(text)):
                yield from _check_text(text)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield from _check_definition(name, rules.SAFE_DUNDER_METHODS)
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                yield from _check_definition(name, frozenset())
            case ast.MatchClass():
                for attribute in node.kwd_attrs:
                    yield from _check_attribute_name(attribute)
            case ast.keyword(arg=str(name)) if _DUNDER.fullmatch(name):
                yield from _refuse(rules.DUNDER, name)

    # -- imports ---------------------------------------------------------------------------------

    def _check_import(self, module: str) -> Iterator[_Objection]:
        if not self._may_import(module):
            allowed = ", ".join(sorted(self._policy.allowed_imports))
            yield GateRule.IMPORT, f"{module} may not be imported; use only: {allowed}"
            return
        yield from _check_path(module)

    def _check_from_import(self, node: ast.ImportFrom) -> Iterator[_Objection]:
        if node.level:
            yield GateRule.IMPORT, "relative imports lead nowhere: a program is one file"
            return
        module = node.module or ""
        if not self._may_import(module):
            yield from self._check_import(module)
            return
        for alias in node.names:
            if alias.name == "*":
                yield GateRule.STAR_IMPORT, f"import the names you need from {module}, not *"
            else:
                yield from _check_path(f"{module}.{alias.name}")

    def _may_import(self, module: str) -> bool:
        parts = module.split(".")
        prefixes = {".".join(parts[: count + 1]) for count in range(len(parts))}
        return bool(prefixes & self._policy.allowed_imports)

    # -- names and attributes ----------------------------------------------------------------------

    def _check_name(self, node: ast.Name, scope: Scope) -> Iterator[_Objection]:
        name = node.id
        if _DUNDER.fullmatch(name):
            stored = isinstance(node.ctx, ast.Store) and name in rules.SAFE_DUNDER_ASSIGNED
            if not stored and name not in rules.SAFE_DUNDER_NAMES:
                yield from _refuse(rules.DUNDER, name)
        elif name in rules.FORBIDDEN_BUILTINS and isinstance(node.ctx, ast.Load):
            yield from _refuse(rules.BUILTIN, name)
        elif name in rules.ATTRIBUTE_BUILTINS and id(node) not in self._called:
            yield GateRule.DYNAMIC_ATTRIBUTE, f"{name} may only be called, not passed on"
        elif self._is_library_value(node, scope):
            message = f"use {name} only as {name}.something: a library may not be passed on"
            yield GateRule.LIBRARY_VALUE, message

    def _is_library_value(self, node: ast.Name, scope: Scope) -> bool:
        if not isinstance(node.ctx, ast.Load) or id(node) in self._bases:
            return False
        return any(path in self._policy.allowed_imports for path in scope.resolve(node))

    def _check_attribute(self, node: ast.Attribute, scope: Scope) -> Iterator[_Objection]:
        paths = scope.resolve(node)
        if not paths:
            yield from _check_attribute_name(node.attr)
        for path in sorted(paths):
            yield from _check_path(path)
            changed = isinstance(node.ctx, ast.Store | ast.Del)
            if changed and not path.startswith(rules.SETTABLE):
                yield GateRule.PATCHING, f"{path} belongs to a library and may not be changed"

    # -- calls -------------------------------------------------------------------------------------

    def _check_call(self, node: ast.Call, scope: Scope) -> Iterator[_Objection]:
        if isinstance(node.func, ast.Name):
            if node.func.id in rules.ATTRIBUTE_BUILTINS:
                yield from self._check_attribute_call(node, node.func.id, scope)
            elif node.func.id == "type" and len(node.args) != 1:
                yield GateRule.BUILTIN, "type with several arguments makes classes; write a class"
        if any(path.split(".")[0] == "numba" for path in scope.resolve(node.func)):
            yield from _check_numba_call(node)

    def _check_attribute_call(
        self, node: ast.Call, name: str, scope: Scope
    ) -> Iterator[_Objection]:
        literal = node.args[1] if len(node.args) > 1 else None
        if not isinstance(literal, ast.Constant) or not isinstance(literal.value, str):
            yield GateRule.DYNAMIC_ATTRIBUTE, f"{name} needs the attribute's name as a plain string"
            return
        if scope.resolve(node.args[0]):
            yield GateRule.DYNAMIC_ATTRIBUTE, f"{name} may not be used on a library; write it out"
        yield from _check_attribute_name(literal.value)


def _refuse(rule: Rule, what: str) -> Iterator[_Objection]:
    yield rule.name, f"{what} {rule.advice}"


def _check_attribute_name(name: str) -> Iterator[_Objection]:
    """Check an attribute of an object of unknown type."""
    if _DUNDER.fullmatch(name):
        if name not in rules.SAFE_DUNDER_ATTRIBUTES:
            yield from _refuse(rules.DUNDER, name)
    elif name in rules.ANYWHERE:
        yield from _refuse(rules.ANYWHERE[name], f".{name}")
    elif rules.CODEC_NAMES.fullmatch(name):
        yield from _refuse(rules.CODEC, f".{name}")


def _check_path(path: str) -> Iterator[_Objection]:
    """Check an attribute of a library, or a submodule; stops at the first objection."""
    parts = path.split(".")
    for count in range(2, len(parts) + 1):
        prefix, owner, name = (
            ".".join(parts[:count]),
            ".".join(parts[: count - 1]),
            parts[count - 1],
        )
        objection = _objection(prefix, owner, name)
        if objection is not None:
            yield objection
            return


def _objection(path: str, owner: str, name: str) -> _Objection | None:
    if owner in rules.ONLY and name not in rules.ONLY[owner]:
        allowed = ", ".join(sorted(rules.ONLY[owner]))
        return rules.HOST.name, f"{path} may not be used; of {owner} only: {allowed}"
    if path in rules.PATHS:
        return rules.PATHS[path].name, f"{path} {rules.PATHS[path].advice}"
    if path in rules.EXCEPTIONS:
        return None
    rule = rules.ON_LIBRARIES.get(name)
    if rule is None and name.startswith("_") and not _DUNDER.fullmatch(name):
        rule = rules.PRIVATE
    if rule is not None:
        return rule.name, f"{path} {rule.advice}"
    return next(_check_attribute_name(name), None)


def _check_definition(name: str, safe: Iterable[str]) -> Iterator[_Objection]:
    if _DUNDER.fullmatch(name) and name not in safe:
        yield from _refuse(rules.DUNDER, name)


def _check_text(text: str) -> Iterator[_Objection]:
    """Check strings that become code: signatures, formats and annotations."""
    for name in _DUNDER.findall(text):
        if name not in rules.SAFE_DUNDER_TEXT:
            yield rules.DUNDER.name, f"a string may not contain {name}"
            return


def _check_numba_call(node: ast.Call) -> Iterator[_Objection]:
    for keyword in node.keywords:
        if keyword.arg is None:
            yield GateRule.NATIVE_CODE, "write numba's options out instead of **options"
        elif keyword.arg == "cache" and not _is_false(keyword.value):
            yield GateRule.FILE_ACCESS, "cache=True makes numba write files; leave it out"
        elif keyword.arg == "forceobj" and not _is_false(keyword.value):
            yield GateRule.NATIVE_CODE, "forceobj compiles nothing; leave it out"
    for argument in node.args:
        text = argument.value if isinstance(argument, ast.Constant) else None
        if isinstance(text, str) and not _NUMBA_SIGNATURE.fullmatch(text):
            yield GateRule.UNSAFE_LOADING, "a numba signature may hold only types"


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False
