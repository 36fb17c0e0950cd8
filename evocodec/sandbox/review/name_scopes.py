"""Name scopes: find which library object a name stands for, without running the program.

A module imported under any name, in any function, must be recognised. A local variable that only
has the same name should not be. Where the two cannot be told apart, the name counts as the module.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_Children = Callable[[ast.AST], list[ast.AST]]
_Binding = (
    *(ast.Name, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler),
    *(ast.MatchMapping, ast.MatchAs, ast.MatchStar),
)
_MAX_ALIAS_STEPS = 10
_MEANINGLESS = frozenset(
    {"ctx", "op", "ops", "kind", "type_comment", "type_ignores", "id", "attr", "arg", "n", "s"}
)
_fields: dict[type[ast.AST], tuple[str, ...]] = {}  # the meaningful ones of node types seen so far


@dataclass(slots=True)
class Scope:
    """Names of one function, or of the module when ``parent`` is None.

    ``libraries``: name → dotted paths that it may stand for. ``others``: names bound to anything
    else.
    """

    parent: "Scope | None" = None
    libraries: dict[str, set[str]] = field(default_factory=dict)
    others: frozenset[str] = frozenset()

    def resolve(self, node: ast.expr) -> frozenset[str]:
        """Return the dotted paths of ``a.b.c``; empty when ``a`` is not imported."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(f".{node.attr}")
            node = node.value
        if not isinstance(node, ast.Name):
            return frozenset()
        suffix = "".join(reversed(attributes))
        return frozenset(path + suffix for path in self._resolve_name(node.id))

    def _resolve_name(self, name: str) -> Iterable[str]:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.libraries:
                return scope.libraries[name]
            if name in scope.others:
                return ()
            scope = scope.parent
        return ()

    def bind(self, name: str, paths: Iterable[str]) -> bool:
        """Let ``name`` also stand for ``paths``; returns True when that is new."""
        known = self.libraries.setdefault(name, set())
        before = len(known)
        known.update(paths)
        return len(known) > before


def nodes_with_scopes(tree: ast.Module) -> list[tuple[ast.AST, Scope]]:
    """Yield every node with the scope in which its names are looked up."""
    children = _cached_children()
    shared = set(_shared_names(tree, children))
    root = Scope()
    nodes = _assign_scopes(tree, root, shared, children)
    for node, scope in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, path in _imported(node):
                scope.bind(name, (path,))
                if name in shared:
                    root.bind(name, (path,))
    _follow_aliases(nodes)
    return nodes


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


def _cached_children() -> _Children:
    """Return a cached ``children_of`` for nodes that stay alive; each is visited at least twice."""
    known: dict[int, list[ast.AST]] = {}

    def children(node: ast.AST) -> list[ast.AST]:
        found = known.get(id(node))
        if found is None:
            found = known[id(node)] = children_of(node)
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
    tree: ast.Module, root: Scope, shared: set[str], children: _Children
) -> list[tuple[ast.AST, Scope]]:
    nodes: list[tuple[ast.AST, Scope]] = []
    stack: list[tuple[ast.AST, Scope]] = [(tree, root)]
    while stack:
        node, scope = stack.pop()
        nodes.append((node, scope))
        if not isinstance(node, _FunctionNode):
            stack += [(child, scope) for child in children(node)]
            continue
        # Decorators, defaults and annotations are looked up outside the function.
        body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else [*node.body]
        inner = Scope(scope, others=frozenset(_local_names(node.args, body, children) - shared))
        inside = {id(part) for part in body}
        stack += [(child, inner if id(child) in inside else scope) for child in children(node)]
    return nodes


def _local_names(arguments: ast.arguments, body: list[ast.AST], children: _Children) -> set[str]:
    """Return the names that a function binds itself, without those of nested functions."""
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [star for star in (arguments.vararg, arguments.kwarg) if star]
    names = {argument.arg for argument in every}
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


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, f"{node.module or ''}.{alias.name}"
        elif alias.asname:
            yield alias.asname, alias.name
        else:
            top = alias.name.partition(".")[0]
            yield top, top


def _follow_aliases(nodes: list[tuple[ast.AST, Scope]]) -> None:
    """Follow aliases such as ``F = torch.nn.functional``, through any number of names."""
    aliases: list[tuple[str, ast.expr, Scope]] = []
    for node, scope in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if isinstance(node.value, ast.Name | ast.Attribute):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
                aliases += [(name, node.value, scope) for name in names]
    for _step in range(_MAX_ALIAS_STEPS):
        news = [scope.bind(name, scope.resolve(value)) for name, value, scope in aliases]
        if not any(news):
            break
