"""Places of a program's expressions: called, passed on, derived from, compared, annotated."""

import ast
from collections.abc import Callable, Iterable
from typing import Any

from evocodec.sandbox.review.library_names import module_at, step
from evocodec.sandbox.review.name_scopes import Scope, ScopedTree, attribute_chain, children_of

_LONGEST_CHAIN = 8
_SHOWING = frozenset({"print", "isinstance", "issubclass", "str", "repr", "id", "hash", "len"})
_BUILTIN_CLASSES = frozenset(
    {
        "bool", "bytearray", "bytes", "dict", "float", "frozenset", "int", "list", "set", "str",
        "tuple",
    }
)  # fmt: skip
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Places:
    """Knows of every node of one program in what place it stands, and of names what paths."""

    def __init__(self, scoped: ScopedTree) -> None:
        self._paths: dict[int, frozenset[str]] = {}
        self._aliases = scoped.aliases
        self._bases_of_attributes: set[int] = set()
        self._called: set[int] = set()
        self._decorators: set[int] = set()
        self._class_bases: set[int] = set()
        self._compared_with_none: set[int] = set()
        self._shown: set[int] = set()  # where the value of type(x) does no harm
        self._shown_by: dict[int, str] = {}  # the same, if this is a builtin function
        self._compared: dict[int, list[ast.expr]] = {}  # the same, if these are classes
        self._type_calls: dict[int, ast.Call] = {}
        self._annotations: dict[int, Scope] = {}
        self._literals: dict[int, ast.expr] = {}
        self._formats: set[int] = set()
        self._defined: set[str] = set()
        self._classes: dict[str, tuple[ast.ClassDef, Scope]] = {}
        self._rebound: set[str] = set()
        self._fields: dict[int, set[str]] = {}
        self._field_calls: set[int] = set()
        self._dataclass_last: set[int] = set()
        self._enums: set[int] = set()
        self.own_names: set[str] = set()
        """Attributes that the program gives to its own classes and objects."""
        notes: dict[type[ast.AST], Callable[[Any, Scope], None]] = {
            ast.Attribute: self._note_attribute,
            ast.Name: self._note_name,
            ast.Call: self._note_call,
            ast.Compare: self._note_compare,
            ast.FormattedValue: self._note_shown,
            ast.BinOp: self._note_operation,
            ast.FunctionDef: self._note_function,
            ast.AsyncFunctionDef: self._note_function,
            ast.ClassDef: self._note_class,
            ast.AnnAssign: self._note_assignment,
            ast.arg: self._note_argument,
            ast.alias: self._note_import,
            ast.ExceptHandler: self._note_binding,
            ast.MatchMapping: self._note_binding,
            ast.MatchAs: self._note_binding,
            ast.MatchStar: self._note_binding,
        }
        for node, scope in scoped.nodes:
            note = notes.get(type(node))
            if note is not None:
                note(node, scope)

    # -- paths -------------------------------------------------------------------------------------

    def keep(self, node: ast.expr, paths: frozenset[str]) -> None:
        """Remember what a node stands for, for the nodes around it."""
        self._paths[id(node)] = paths

    def of(self, node: ast.expr) -> frozenset[str]:
        """What a node was found to stand for; empty for anything but a part of a library."""
        return self._paths.get(id(node), frozenset())

    # -- places ------------------------------------------------------------------------------------

    def is_base_of_attribute(self, node: ast.expr) -> bool:
        """Whether the node is the ``a`` of ``a.b``."""
        return id(node) in self._bases_of_attributes

    def is_called(self, node: ast.expr) -> bool:
        """Whether the node is the function of a call."""
        return id(node) in self._called

    def is_direct(self, node: ast.expr) -> bool:
        """Whether the node is called, a decorator, or only gets another name."""
        place = id(node)
        return place in self._called or place in self._decorators or place in self._aliases

    def is_class_base(self, node: ast.expr) -> bool:
        """Whether a class derives from the node, or it only names a type."""
        place = id(node)
        return place in self._class_bases or place in self._annotations or place in self._aliases

    def may_be_module(self, node: ast.expr, *, top: bool) -> bool:
        """Whether a module may stand here: compared with None, or a submodule's other name."""
        place = id(node)
        return place in self._compared_with_none or (not top and place in self._aliases)

    def is_type_call(self, call: ast.Call) -> bool:
        """Whether a call is ``type(x)``."""
        function = call.func
        return isinstance(function, ast.Name) and function.id == "type"

    def is_type_use(self, node: ast.Name) -> bool:
        """Whether the name ``type`` is called with one argument, where its value does no harm."""
        if id(node) in self._annotations:
            return True
        call = self._type_calls.get(id(node))
        if call is None:
            return self._does_no_harm(node)
        alone = len(call.args) == 1 and not call.keywords
        return alone and not isinstance(call.args[0], ast.Starred) and self._does_no_harm(call)

    def _does_no_harm(self, node: ast.expr) -> bool:
        """Whether no code of the program gets hold of the class that a node stands for."""
        place = id(node)
        if place in self._shown or place in self._annotations:
            return True
        if place in self._bases_of_attributes:
            return True
        if place in self._compared:
            return all(self._is_class(other) for other in self._compared[place])
        shower = self._shown_by.get(place)
        return shower is not None and shower not in self._rebound | self._defined

    def _is_class(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return all(isinstance(part, ast.Name | ast.Attribute) for part in node.elts) and all(
                map(self._is_class, node.elts)
            )
        if isinstance(node, ast.Call):
            return self.is_type_call(node)
        if isinstance(node, ast.Constant):
            return node.value is None
        if self.of(node):
            return True
        if not isinstance(node, ast.Name) or node.id in self._rebound:
            return False
        return node.id in _BUILTIN_CLASSES or node.id in self._classes

    def is_literal_format(self, node: ast.Attribute) -> bool:
        """Whether ``.format`` is called on a text without attributes and indices in its fields."""
        return id(node) in self._formats

    def is_annotation(self, node: ast.Constant) -> bool:
        """Whether a text stands in an annotation, and not in ``typing.Literal``."""
        scope = self._annotations.get(id(node))
        if scope is None:
            return False
        literal = self._literals.get(id(node))
        return literal is None or resolved(literal, scope) != {"typing.Literal"}

    def is_field_of_class(self, node: ast.Name, scope: Scope) -> bool:
        """Whether a class body reads a name to which it has assigned ``field()``."""
        return isinstance(node.ctx, ast.Load) and node.id in self._fields.get(id(scope.owner), ())

    def is_field_value(self, call: ast.Call) -> bool:
        """Whether a call is the value of a field in a class that is made a dataclass at once."""
        return id(call) in self._field_calls

    def is_last_decorator(self, node: ast.expr) -> bool:
        """Whether a decorator sees the class before all others."""
        return id(node) in self._dataclass_last

    def is_empty_enum(self, node: ast.ClassDef) -> bool:
        """Whether a class derives from Enum and has no members: calling it makes classes."""
        return id(node) in self._enums

    def is_function(self, name: str) -> bool:
        """Whether a name is defined as a function, and never bound to anything else."""
        return name in self._defined and name not in self._rebound

    def is_plain_class(self, node: ast.expr) -> bool:
        """Whether a class pattern's class has the positional attributes that one can read here."""
        if not isinstance(node, ast.Name) or node.id in self._rebound:
            return False
        if node.id in self._classes:
            return self._derives_plainly(node.id)
        return node.id in _BUILTIN_CLASSES

    # -- one pass ----------------------------------------------------------------------------------

    def _note_attribute(self, node: ast.Attribute, scope: Scope) -> None:
        del scope
        self._bases_of_attributes.add(id(node.value))
        if not isinstance(node.ctx, ast.Load):
            self.own_names.add(node.attr)

    def _note_name(self, node: ast.Name, scope: Scope) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._rebound.add(node.id)
            if scope.is_class:
                self.own_names.add(node.id)

    def _note_shown(self, node: ast.FormattedValue, scope: Scope) -> None:
        del scope
        self._shown.add(id(node.value))

    def _note_operation(self, node: ast.BinOp, scope: Scope) -> None:
        del scope
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant):
            self._shown.update(map(id, _elements(node.right)))

    def _note_assignment(self, node: ast.AnnAssign, scope: Scope) -> None:
        self._note_annotation(node.annotation, scope)

    def _note_argument(self, node: ast.arg, scope: Scope) -> None:
        self._rebound.add(node.arg)
        self._note_annotation(node.annotation, scope)

    def _note_import(self, node: ast.alias, scope: Scope) -> None:
        del scope
        self._rebound.add(node.asname or node.name.partition(".")[0])

    def _note_binding(self, node: ast.AST, scope: Scope) -> None:
        del scope
        name = getattr(node, "rest" if isinstance(node, ast.MatchMapping) else "name")
        if name is not None:
            self._rebound.add(name)

    def _note_call(self, node: ast.Call, scope: Scope) -> None:
        del scope
        function = node.func
        self._called.add(id(function))
        if self.is_type_call(node):
            self._type_calls[id(function)] = node
        elif isinstance(function, ast.Call):
            self._shown.add(id(function))
        if isinstance(function, ast.Name) and function.id in _SHOWING:
            for argument in node.args:
                for part in _elements(argument):
                    self._shown_by[id(part)] = function.id
        if isinstance(function, ast.Attribute) and function.attr == "format":
            text = function.value
            if isinstance(text, ast.Constant) and _is_plain_format(text.value):
                self._formats.add(id(function))

    def _note_compare(self, node: ast.Compare, scope: Scope) -> None:
        del scope
        sides = [node.left, *node.comparators]
        if all(isinstance(one, ast.Is | ast.IsNot) for one in node.ops):
            self._shown.update(map(id, sides))
            if len(sides) == 2 and _is_none(sides[1]):
                self._compared_with_none.add(id(sides[0]))
        elif len(sides) == 2:
            self._compared[id(sides[0])] = [sides[1]]
            self._compared[id(sides[1])] = [sides[0]]

    def _note_function(self, node: _Function, scope: Scope) -> None:
        self._defined.add(node.name)
        self._decorators.update(map(id, node.decorator_list))
        if scope.is_class:
            self.own_names.add(node.name)
        self._note_annotation(node.returns, scope)

    def _note_class(self, node: ast.ClassDef, scope: Scope) -> None:
        if node.name in self._classes or node.name in self._defined:
            self._rebound.add(node.name)
        self._classes[node.name] = node, scope
        self._decorators.update(map(id, node.decorator_list))
        self._class_bases.update(map(id, node.bases))
        last = node.decorator_list[-1] if node.decorator_list else None
        made = last.func if isinstance(last, ast.Call) else last
        if made is not None:
            self._dataclass_last.add(id(made))
        self._note_fields(node, made, scope)
        if any(path.startswith("enum.") for base in node.bases for path in resolved(base, scope)):
            members = any(isinstance(part, ast.Assign) for part in node.body)
            if not members:
                self._enums.add(id(node))

    def _note_fields(self, node: ast.ClassDef, made: ast.expr | None, scope: Scope) -> None:
        if made is None or resolved(made, scope) != {"dataclasses.dataclass"}:
            return
        for part in node.body:
            if not isinstance(part, ast.AnnAssign) or not isinstance(part.value, ast.Call):
                continue
            if resolved(part.value.func, scope) == {"dataclasses.field"}:
                self._field_calls.add(id(part.value))
                if isinstance(part.target, ast.Name):
                    self._fields.setdefault(id(node), set()).add(part.target.id)

    def _note_annotation(self, annotation: ast.expr | None, scope: Scope) -> None:
        if annotation is None:
            return
        stack: list[tuple[ast.AST, ast.expr | None]] = [(annotation, None)]
        while stack:
            node, literal = stack.pop()
            self._annotations[id(node)] = scope
            if literal is not None:
                self._literals[id(node)] = literal
            if isinstance(node, ast.Subscript):
                stack.append((node.value, None))
                stack.append((node.slice, node.value))
            else:
                inside = literal if isinstance(node, ast.Tuple) else None
                stack += [(child, inside) for child in children_of(node)]

    def _derives_plainly(self, name: str) -> bool:
        """Whether a class and its bases are class statements of this file, or a library's."""
        for _level in range(_LONGEST_CHAIN):
            node, scope = self._classes.get(name, (None, None))
            if node is None or scope is None or node.keywords or name in self._rebound:
                return False
            if not node.bases:
                return True
            base = node.bases[0]
            if len(node.bases) > 1 or resolved(base, scope):
                return len(node.bases) == 1
            if not isinstance(base, ast.Name):
                return False
            name = base.id
        return False


def resolved(node: ast.expr, scope: Scope) -> set[str]:
    """What a short ``a.b.c`` stands for, without the memory of a whole pass."""
    chain = attribute_chain(node)
    if chain is None or len(chain[1]) > _LONGEST_CHAIN:
        return set()
    found: set[str] = set()
    for start in scope.paths_of(chain[0]):
        path: str | None = start
        for attribute in chain[1]:
            path = step(path, attribute) if path is not None else None
        if path is not None and module_at(path) is None:
            found.add(path)
    return found


def _elements(node: ast.expr) -> Iterable[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else (node,)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_plain_format(text: object) -> bool:
    """Whether the fields of a format text are only numbers and names."""
    if not isinstance(text, str):
        return False
    names = [field.partition("}")[0].partition(":")[0] for field in text.split("{")[1:]]
    return not any("." in name or "[" in name for name in names)
