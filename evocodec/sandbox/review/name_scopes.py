"""Name scopes: find which library object a name stands for, without running the program.

A module imported under any name, in any function, must be recognised. A local variable that only
has the same name should not be. Where the two cannot be told apart, the name counts as the module.

The work is linear in the size of the program: every name stands for at most ``MOST_PATHS`` paths,
every path is carried along every assignment once, and all of it spends steps of one budget.
"""

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from evocodec.sandbox.review.library_names import import_path, step
from evocodec.sandbox.review.step_budget import (
    MOST_FUNCTIONS,
    MOST_NODES,
    ReviewLimitError,
    StepBudget,
)

MOST_PATHS = 16
"""Library paths that one name may stand for; with more, nobody can tell what it is."""

MOST_DEPTH = 40
"""Functions and classes in one another; each may have to be searched for a name."""

_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_Children = Callable[[ast.AST], list[ast.AST]]
_Binding = (
    *(ast.Name, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler),
    *(ast.MatchMapping, ast.MatchAs, ast.MatchStar),
)
_MEANINGLESS = frozenset(
    {"ctx", "op", "ops", "kind", "type_comment", "type_ignores", "id", "attr", "arg", "n", "s"}
)
_fields: dict[type[ast.AST], tuple[str, ...]] = {}  # the meaningful ones of node types seen so far


@dataclass(slots=True, eq=False)
class Scope:
    """Names of one function or class body, or of the module when ``parent`` is None.

    ``libraries``: name → dotted paths that it may stand for. ``others``: names that a function
    binds itself. ``stored``: the same of a class body, where a name that is not bound yet is
    looked up in the module.
    """

    parent: "Scope | None" = None
    libraries: dict[str, set[str]] = field(default_factory=dict)
    others: frozenset[str] = frozenset()
    stored: frozenset[str] = frozenset()
    owner: ast.AST | None = None
    depth: int = 0

    def owners(self, name: str) -> Iterator["Scope"]:
        """The scopes in which ``name`` may be found, as seen from this one."""
        scope: Scope = self
        while scope.parent is not None:
            if name in scope.stored:
                yield scope.module
            if name in scope.others or name in scope.libraries:
                yield scope
                return
            scope = scope.parent
        yield scope

    @property
    def is_class(self) -> bool:
        """Whether these are the names of a class body."""
        return isinstance(self.owner, ast.ClassDef)

    def is_local(self, name: str) -> bool:
        """Whether a name surely is a variable of a function, and no builtin."""
        return all(scope.parent is not None for scope in self.owners(name))

    @property
    def module(self) -> "Scope":
        """The scope of the module."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def paths_of(self, name: str) -> frozenset[str]:
        """Return the dotted paths that a name may stand for."""
        found: frozenset[str] = frozenset()
        for scope in self.owners(name):
            found |= scope.libraries.get(name, frozenset())
        return found


@dataclass(slots=True)
class ScopedTree:
    """All nodes with the scope in which their names are looked up, parents before children."""

    nodes: list[tuple[ast.AST, Scope]]
    shared: frozenset[str]
    aliases: frozenset[int]
    """Ids of the values of assignments that give a part of a library another name."""


def scoped_tree(tree: ast.Module, budget: StepBudget) -> ScopedTree:
    """Find what every name of a program may stand for; raises ReviewLimitError."""
    children = _cached_children()
    shared = frozenset(_shared_names(tree, children))
    root = Scope()
    nodes = _assign_scopes(tree, root, shared, children)
    names = _Names(root, shared, budget)
    for node, scope in nodes:
        names.read(node, scope)
    names.follow()
    return ScopedTree(nodes, shared, frozenset(names.values))


def children_of(node: ast.AST) -> list[ast.AST]:
    """Return the direct children that matter: no operators, no load and store marks."""
    children: list[ast.AST] = []
    kind = type(node)
    fields = _fields.get(kind)
    if fields is None:
        fields = tuple(name for name in kind._fields if name not in _MEANINGLESS)
        _fields[kind] = fields
    for name in fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            children += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST):
            children.append(value)
    return children


def attribute_chain(node: ast.expr) -> tuple[str, list[str]] | None:
    """Split ``a.b.c`` into its first name and its attributes; None for anything else."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, attributes[::-1]) if isinstance(node, ast.Name) else None


def _cached_children() -> _Children:
    """Return a cached ``children_of`` for nodes that stay alive; each is visited at least twice.

    It raises ReviewLimitError when there are too many nodes.
    """
    known: dict[int, list[ast.AST]] = {}
    functions = 0

    def children(node: ast.AST) -> list[ast.AST]:
        nonlocal functions
        found = known.get(id(node))
        if found is None:
            found = known[id(node)] = children_of(node)
            if len(known) > MOST_NODES:
                raise ReviewLimitError(
                    f"the program has more than {MOST_NODES} names, constants and operations; "
                    f"write large tables as bytes, or compute them"
                )
            if isinstance(node, _FunctionNode | _Comprehension | ast.ClassDef):
                functions += 1
                if functions > MOST_FUNCTIONS:
                    raise ReviewLimitError(
                        f"the program has more than {MOST_FUNCTIONS} functions, classes "
                        f"and comprehensions"
                    )
        return found

    return children


def _shared_names(tree: ast.Module, children: _Children) -> Iterator[str]:
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield from node.names
        if not isinstance(node, ast.expr):  # these are statements, and no expression holds any
            stack += children(node)


def _assign_scopes(
    tree: ast.Module, root: Scope, shared: frozenset[str], children: _Children
) -> list[tuple[ast.AST, Scope]]:
    nodes: list[tuple[ast.AST, Scope]] = []
    stack: list[tuple[ast.AST, Scope]] = [(tree, root)]
    while stack:
        node, scope = stack.pop()
        nodes.append((node, scope))
        if not isinstance(node, _FunctionNode | ast.ClassDef):
            stack += [(child, scope) for child in children(node)]
            continue
        # Decorators, defaults, bases and annotations are looked up outside.
        body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else [*node.body]
        inner = _inner_scope(node, body, scope, shared, children)
        inside = {id(part) for part in body}
        stack += [(child, inner if id(child) in inside else scope) for child in children(node)]
    return nodes


def _inner_scope(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef,
    body: list[ast.AST],
    scope: Scope,
    shared: frozenset[str],
    children: _Children,
) -> Scope:
    depth = scope.depth + 1
    if depth > MOST_DEPTH:
        raise ReviewLimitError(
            f"line {node.lineno}: functions and classes stand in one another more than "
            f"{MOST_DEPTH} deep; write them side by side"
        )
    names = frozenset(_bound_names(body, children))
    if isinstance(node, ast.ClassDef):
        return Scope(scope, stored=names, owner=node, depth=depth)
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [star for star in (arguments.vararg, arguments.kwarg) if star]
    names |= {argument.arg for argument in every}
    return Scope(scope, others=names - shared, owner=node, depth=depth)


def _bound_names(body: list[ast.AST], children: _Children) -> set[str]:
    """Return the names that a body binds itself, without those of nested functions."""
    names: set[str] = set()
    stack = list(body)
    while stack:
        node = stack.pop()
        if isinstance(node, _Binding):
            names.update(_names_bound_by(node))
        if not isinstance(node, _FunctionNode | _Comprehension | ast.ClassDef):
            stack += children(node)
    return names


def _names_bound_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.ExceptHandler(name=str(name)) | ast.MatchMapping(rest=str(name)):
            yield name
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str, str]]:
    """Names that an import binds, each with a path and an attribute of that ("" for none)."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, node.module or "", alias.name
        elif alias.asname:
            yield alias.asname, alias.name, ""
        else:
            top = alias.name.partition(".")[0]
            yield top, top, ""


_Key = tuple[Scope, str]


@dataclass(slots=True)
class _Names:
    """What names stand for; follows aliases such as ``F = torch.nn.functional``."""

    root: Scope
    shared: frozenset[str]
    budget: StepBudget
    values: set[int] = field(default_factory=set)
    _aliases: list[tuple[_Key, Scope, str, list[str]]] = field(default_factory=list)
    _news: list[tuple[_Key, str]] = field(default_factory=list)

    def read(self, node: ast.AST, scope: Scope) -> None:
        """Note what a statement binds."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, module, attribute in imported(node):
                found = import_path(module)
                if attribute and found is not None:
                    found = step(found, attribute)
                if found is not None:
                    self._bind(self._key(scope, name), found)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            self._read_assignment(node, scope)

    def _read_assignment(
        self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr, scope: Scope
    ) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if scope.is_class or node.value is None or not names:
            return
        chain = attribute_chain(node.value)
        if chain is None:
            return
        if len(names) == len(targets) and not isinstance(node, ast.NamedExpr):
            self.values.add(id(node.value))
        for name in names:
            self.budget.spend(1 + len(chain[1]))
            key = self._key(scope, name)
            key[0].libraries.setdefault(name, set())
            self._aliases.append((key, scope, *chain))

    def follow(self) -> None:
        """Carry every path along every alias, once each."""
        dependents: dict[_Key, list[tuple[_Key, list[str]]]] = defaultdict(list)
        for key, scope, first, attributes in self._aliases:
            for owner in scope.owners(first):
                dependents[owner, first].append((key, attributes))
        while self._news:
            source, path = self._news.pop()
            for key, attributes in dependents.get(source, ()):
                self.budget.spend(1)
                found = self._along(path, attributes)
                if found is not None:
                    self._bind(key, found)

    def _along(self, path: str, attributes: list[str]) -> str | None:
        found: str | None = path
        for attribute in attributes:
            self.budget.spend()
            if found is None:
                break
            found = step(found, attribute)
        return found

    def _key(self, scope: Scope, name: str) -> _Key:
        return (self.root if name in self.shared else scope), name

    def _bind(self, key: _Key, path: str) -> None:
        scope, name = key
        known = scope.libraries.setdefault(name, set())
        if path in known:
            return
        if len(known) >= MOST_PATHS:
            raise ReviewLimitError(
                f"{name[:40]} may stand for more than {MOST_PATHS} parts of libraries; "
                f"give each a name of its own"
            )
        known.add(path)
        self._news.append((key, path))
