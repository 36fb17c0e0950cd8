"""The checks of one program's names, attributes, imports and definitions."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from evocodec.domain.candidate import Finding
from evocodec.domain.vocabulary import GateRule
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.review import static_rules as rules
from evocodec.sandbox.review.library_calls import check_library_call
from evocodec.sandbox.review.library_names import is_module, module_at, step
from evocodec.sandbox.review.name_scopes import Scope, ScopedTree
from evocodec.sandbox.review.places import Places
from evocodec.sandbox.review.static_rules import Rule
from evocodec.sandbox.review.step_budget import StepBudget

Objection: TypeAlias = tuple[GateRule, str]  # the rule, and what is wrong

_DUNDER = re.compile(r"__\w+__")
_TYPE_TEXT = re.compile(r"[\w\s.,\[\]|]*")


def short(name: str) -> str:
    """A name as messages show it: programs may have names of any length."""
    return name if len(name) <= 80 else f"{name[:60]}…"


class Gate:
    """One pass over all nodes; each check yields objections and is independent of the others."""

    def __init__(self, policy: Policy, scoped: ScopedTree, budget: StepBudget) -> None:
        self._policy = policy
        self._nodes = scoped.nodes
        self._budget = budget
        self._places = Places(scoped)

    def findings(self) -> Iterator[Finding]:
        """Every objection, children before parents."""
        checks: dict[type[ast.AST], Callable[[Any, Scope], Iterator[Objection]]] = {
            ast.Attribute: self._check_attribute,
            ast.Name: self._check_name,
            ast.Constant: self._check_constant,
            ast.Call: self._check_call,
            ast.Import: self._check_import,
            ast.ImportFrom: self._check_import,
            ast.FunctionDef: self._check_function,
            ast.AsyncFunctionDef: self._check_function,
            ast.ClassDef: self._check_class,
            ast.arg: self._check_argument,
            ast.MatchClass: self._check_pattern,
            ast.keyword: self._check_keyword,
        }
        self._budget.spend(len(self._nodes))
        for node, scope in reversed(self._nodes):
            check = checks.get(type(node))
            if check is None:
                continue
            for rule, message in check(node, scope):
                if rule == GateRule.LIBRARY_CODEC and self._policy.allow_library_codecs:
                    continue
                yield Finding(rule, message, getattr(node, "lineno", 0))

    # -- imports ---------------------------------------------------------------------------------

    def _check_import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> Iterator[Objection]:
        if scope.is_class:
            yield GateRule.LIBRARY_VALUE, "import at the top of the file, not in a class"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from self._check_module(alias.name)
            return
        module = node.module or ""
        if node.level:
            yield GateRule.IMPORT, "relative imports lead nowhere: a program is one file"
            return
        if not self._may_import(module):
            yield from self._check_module(module)
            return
        if module == "__future__":
            return
        for alias in node.names:
            if alias.name == "*":
                message = f"import the names you need from {short(module)}, not *"
                yield GateRule.STAR_IMPORT, message
            else:
                yield from _check_import_path(f"{module}.{alias.name}")

    def _check_module(self, module: str) -> Iterator[Objection]:
        if self._may_import(module):
            yield from _check_import_path(module)
            return
        allowed = ", ".join(sorted(self._policy.allowed_imports))
        yield GateRule.IMPORT, f"{short(module)} may not be imported; use only: {allowed}"

    def _may_import(self, module: str) -> bool:
        parts = module.split(".")[: rules.MOST_PARTS]
        prefixes = {".".join(parts[: count + 1]) for count in range(len(parts))}
        return bool(prefixes & self._policy.allowed_imports)

    # -- names and attributes ----------------------------------------------------------------------

    def _check_name(self, node: ast.Name, scope: Scope) -> Iterator[Objection]:
        name = node.id
        if name.startswith("__") and _DUNDER.fullmatch(name):
            stored = isinstance(node.ctx, ast.Store) and name in rules.SAFE_DUNDER_ASSIGNED
            if not stored and name not in rules.SAFE_DUNDER_NAMES:
                yield from _refuse(rules.DUNDER, name)
        elif name in rules.GUARDED_BUILTINS:
            if isinstance(node.ctx, ast.Load) and not scope.is_local(name):
                yield from self._check_builtin(node, name)
        else:
            paths = scope.paths_of(name)
            if paths:
                self._places.keep(node, paths)
                if isinstance(node.ctx, ast.Load):
                    yield from self._check_use(node, paths)
            elif self._places.is_field_of_class(node, scope):
                yield GateRule.UNSAFE_LOADING, f"{name} is made by field(); leave it alone here"

    def _check_builtin(self, node: ast.Name, name: str) -> Iterator[Objection]:
        if name in rules.FORBIDDEN_BUILTINS:
            yield from _refuse(rules.BUILTIN, name)
        elif name == "type":
            if not self._places.is_type_use(node):
                message = "type may only be called with one argument; name the class otherwise"
                yield GateRule.BUILTIN, message
        elif not self._places.is_called(node):
            yield GateRule.DYNAMIC_ATTRIBUTE, f"{name} may only be called, not passed on"

    def _check_use(
        self, node: ast.Name | ast.Attribute, paths: Iterable[str]
    ) -> Iterator[Objection]:
        """Check what is done with a part of a library."""
        places = self._places
        if places.is_base_of_attribute(node):
            return
        for path in sorted(paths):
            if is_module(path):
                if not places.may_be_module(node, top="." not in path):
                    message = f"use {path} only as {path}.something: a library may not be passed on"
                    yield GateRule.LIBRARY_VALUE, message
                continue
            owner, _, name = path.rpartition(".")
            module = module_at(owner)
            if module is None:
                continue
            if name in module.called and not places.is_direct(node):
                message = f"{path} may only be called or used as a decorator, not passed on"
                yield GateRule.LIBRARY_VALUE, message
            if name in module.bases and not places.is_class_base(node):
                message = f"{path} may only be derived from: class Kind({name}): ..."
                yield GateRule.LIBRARY_VALUE, message

    def _check_attribute(self, node: ast.Attribute, scope: Scope) -> Iterator[Objection]:
        owners = self._places.of(node.value)
        name = node.attr
        if not owners:
            if not (name in rules.OWN_ONLY and _is_self(node.value)):
                yield from self._check_attribute_name(name)
            if name == "format" and not self._places.is_literal_format(node):
                yield GateRule.DYNAMIC_ATTRIBUTE, rules.FORMAT_ADVICE
            return
        found = set()
        for owner in sorted(owners):
            objections = list(_check_path(owner, name))
            yield from objections
            path = step(owner, name)
            if path is None or objections:
                continue
            found.add(path)
            changed = isinstance(node.ctx, ast.Store | ast.Del)
            if changed and not path.startswith(rules.SETTABLE):
                message = f"{owner}.{short(name)} belongs to a library and may not be changed"
                yield GateRule.PATCHING, message
        if found:
            self._places.keep(node, frozenset(found))
            yield from self._check_use(node, found)

    def _check_attribute_name(self, name: str) -> Iterator[Objection]:
        """Check an attribute of an object of unknown type."""
        yield from check_attribute_name(name)
        if name in rules.OWN_ONLY and name not in self._places.own_names:
            yield from _refuse(rules.OWN_ONLY[name], f".{name}")
        elif (
            name.startswith("_")
            and not _DUNDER.fullmatch(name)
            and name not in self._places.own_names
            and name not in rules.SAFE_PRIVATE
        ):
            yield from _refuse(rules.PRIVATE, f".{short(name)}")

    # -- calls, classes, patterns, text ------------------------------------------------------------

    def _check_call(self, node: ast.Call, scope: Scope) -> Iterator[Objection]:
        function = node.func
        if isinstance(function, ast.Name) and function.id in rules.ATTRIBUTE_BUILTINS:
            if not scope.is_local(function.id):
                yield from self._check_attribute_call(node, function.id)
        elif (
            isinstance(function, ast.Call)
            and self._places.is_type_call(function)
            and (len(node.args) == 3 or any(isinstance(part, ast.Starred) for part in node.args))
        ):
            yield GateRule.BUILTIN, "type(x)(...) with three arguments makes a class; name it"
        for path in sorted(self._places.of(function)):
            yield from check_library_call(node, path, self._places)

    def _check_attribute_call(self, node: ast.Call, name: str) -> Iterator[Objection]:
        literal = node.args[1] if len(node.args) > 1 else None
        if not isinstance(literal, ast.Constant) or not isinstance(literal.value, str):
            yield GateRule.DYNAMIC_ATTRIBUTE, f"{name} needs the attribute's name as a plain string"
            return
        if self._places.of(node.args[0]):
            yield GateRule.DYNAMIC_ATTRIBUTE, f"{name} may not be used on a library; write it out"
        if literal.value == "format":
            yield GateRule.DYNAMIC_ATTRIBUTE, rules.FORMAT_ADVICE
        yield from self._check_attribute_name(literal.value)

    def _check_function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope
    ) -> Iterator[Objection]:
        del scope
        return _check_definition(node.name, rules.SAFE_DUNDER_METHODS)

    def _check_argument(self, node: ast.arg, scope: Scope) -> Iterator[Objection]:
        del scope
        return _check_definition(node.arg, frozenset())

    def _check_keyword(self, node: ast.keyword, scope: Scope) -> Iterator[Objection]:
        del scope
        if node.arg is not None and _DUNDER.fullmatch(node.arg):
            yield from _refuse(rules.DUNDER, short(node.arg))

    def _check_class(self, node: ast.ClassDef, scope: Scope) -> Iterator[Objection]:
        del scope
        yield from _check_definition(node.name, frozenset())
        for keyword in node.keywords:
            if keyword.arg in (None, "metaclass"):
                yield GateRule.BUILTIN, "a metaclass makes classes; derive from abc.ABC or Enum"
        if self._places.is_empty_enum(node):
            yield GateRule.BUILTIN, f"the Enum {short(node.name)} has no members; give it some"

    def _check_pattern(self, node: ast.MatchClass, scope: Scope) -> Iterator[Objection]:
        del scope
        for attribute in node.kwd_attrs:
            yield from self._check_attribute_name(attribute)
        if node.patterns and not self._places.is_plain_class(node.cls):
            message = "write a class pattern as case Kind(name=...), or use a class of this file"
            yield GateRule.DYNAMIC_ATTRIBUTE, message

    def _check_constant(self, node: ast.Constant, scope: Scope) -> Iterator[Objection]:
        """Check strings that become code: signatures, formats and annotations."""
        del scope
        text = node.value
        if not isinstance(text, str):
            return
        for name in _DUNDER.findall(text):
            if name not in rules.SAFE_DUNDER_TEXT:
                yield rules.DUNDER.name, f"a string may not contain {short(name)}"
                break
        if self._places.is_annotation(node) and not _TYPE_TEXT.fullmatch(text):
            yield GateRule.UNSAFE_LOADING, "a string annotation may hold only the name of a type"


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _refuse(rule: Rule, what: str) -> Iterator[Objection]:
    yield rule.name, f"{what} {rule.advice}"


def check_attribute_name(name: str) -> Iterator[Objection]:
    """Check the name of an attribute that is forbidden on every object."""
    if name.startswith("__") and _DUNDER.fullmatch(name):
        if name not in rules.SAFE_DUNDER_ATTRIBUTES:
            yield from _refuse(rules.DUNDER, short(name))
    elif name in rules.ANYWHERE:
        yield from _refuse(rules.ANYWHERE[name], f".{name}")
    elif rules.CODEC_NAMES.fullmatch(name):
        yield from _refuse(rules.CODEC, f".{short(name)}")


def _check_import_path(path: str) -> Iterator[Objection]:
    """Check a submodule, or what is imported from one; stops at the first objection."""
    place, *names = path.split(".", rules.MOST_PARTS)
    for name in names:
        objections = list(_check_path(place, name))
        yield from objections
        found = step(place, name)
        if objections or found is None:
            return
        place = found


def _check_path(owner: str, name: str) -> Iterator[Objection]:
    """Check an attribute of a part of a library that was found before."""
    module = module_at(owner)
    if module is None:
        if name in rules.ON_LIBRARIES:
            yield rules.ON_LIBRARIES[name].name, f"{owner}.{name} {rules.ON_LIBRARIES[name].advice}"
        else:
            yield from check_attribute_name(name)
        return
    if step(owner, name) is not None:
        return
    rule = module.left_out.get(name, module.otherwise)
    advice = rules.advice_of(rule)
    if rule == GateRule.UNLISTED_NAME:
        objection = next(check_attribute_name(name), None)
        reason = next(_reasons(f"{owner}.{name}", name), None)
        if reason is None and objection is not None:
            yield objection
            return
        rule, advice = reason or (rule, advice)
    yield rule, f"{owner}.{short(name)} {advice}"


def _reasons(path: str, name: str) -> Iterator[Rule]:
    if path in rules.PATHS:
        yield rules.PATHS[path]
    if name in rules.ON_LIBRARIES:
        yield rules.ON_LIBRARIES[name]
    if name.startswith("_") and not _DUNDER.fullmatch(name):
        yield rules.PRIVATE


def _check_definition(name: str, safe: Iterable[str]) -> Iterator[Objection]:
    if _DUNDER.fullmatch(name) and name not in safe:
        yield from _refuse(rules.DUNDER, short(name))
