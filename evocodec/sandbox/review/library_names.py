"""Lists of the names that programs may use of each library, read from ``libraries/*.txt``.

A list has a section for every module that programs may reach. ``tools/list_library_names.py``
compares it with the installed library; a person decides where a new name goes. A name that is in no
list is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from evocodec.domain.vocabulary import GateRule
from evocodec.sandbox.policy import STANDARD_IMPORTS

_STANDARD = "standard"
_ALLOWED_KEYS = frozenset({"allow", "later", "called", "bases", "constants", "otherwise"})


@dataclass(frozen=True, slots=True)
class Module:
    """Names of one module.

    ``called`` may only be called or used as decorators, and ``bases`` only be derived from: in
    other hands they turn strings into code. ``prefixes`` are those of plain constants. ``later``
    are names that only newer versions have.
    ``left_out``: why a name is refused; ``otherwise``: why all others are.
    """

    allowed: frozenset[str]
    called: frozenset[str] = frozenset()
    bases: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    later: frozenset[str] = frozenset()
    left_out: Mapping[str, GateRule] = field(default_factory=dict)
    otherwise: GateRule = GateRule.UNLISTED_NAME

    def has(self, name: str) -> bool:
        """Whether programs may use a name of it."""
        if name in self.allowed:
            return True
        return name.startswith(self.prefixes) and name not in self.left_out


@dataclass(frozen=True, slots=True)
class NameList:
    """The list of one library, or of the standard library's modules together."""

    version: str
    modules: Mapping[str, Module]


@cache
def name_list(library: str) -> NameList | None:
    """Return the list that a top-level module is in; None when there is none."""
    if not library.isidentifier():
        return None
    file = list_of(library)
    source = files(__package__).joinpath("libraries", f"{file}.txt")
    return parse_list(source.read_text(encoding="utf-8")) if source.is_file() else None


def list_of(library: str) -> str:
    """Name the list that has a top-level module."""
    return _STANDARD if library in STANDARD_IMPORTS else library


def parse_list(text: str) -> NameList:
    """Read a list; continued lines are indented."""
    version = ""
    sections: dict[str, dict[str, list[str]]] = {}
    current: list[str] = []
    keys: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            keys = sections.setdefault(line.strip("[]"), {})
        elif line.startswith("  "):
            current += line.split()
        elif line and not line.startswith("#"):
            key, _, rest = line.partition(":")
            if key == "version":
                version = rest.strip()
            else:
                current = keys.setdefault(key, [])
                current += rest.split()
    return NameList(version, {path: _module(keys) for path, keys in sections.items()})


def _module(keys: Mapping[str, Iterable[str]]) -> Module:
    called, bases = frozenset(keys.get("called", ())), frozenset(keys.get("bases", ()))
    later = frozenset(keys.get("later", ()))
    (otherwise,) = keys.get("otherwise", (GateRule.UNLISTED_NAME,))
    return Module(
        allowed=frozenset(keys.get("allow", ())) | called | bases | later,
        called=called,
        bases=bases,
        prefixes=tuple(name.removesuffix("*") for name in keys.get("constants", ())),
        later=later,
        left_out={
            name: GateRule(key)
            for key, names in keys.items()
            if key not in _ALLOWED_KEYS
            for name in names
        },
        otherwise=GateRule(otherwise),
    )


# -- paths -----------------------------------------------------------------------------------------


@cache
def module_at(path: str) -> Module | None:
    """Return the module of a path; None for what is in a module, and for unknown ones.

    Ask only of paths that ``step`` or ``import_path`` returned: what was asked stays in memory.
    """
    found = name_list(path.partition(".")[0])
    return found.modules.get(path) if found is not None else None


def step(path: str, attribute: str) -> str | None:
    """Return the path of an attribute, or None where programs may not use it.

    Attributes of functions and classes have their owner's path: there is no list of them.
    """
    module = module_at(path)
    if module is None:
        return path if "." in path or name_list(path) is not None else f"{path}.*"
    found = f"{path}.{attribute}"
    if module.has(attribute) or _is_listed(found):
        return found
    return None


def _is_listed(path: str) -> bool:
    found = name_list(path.partition(".")[0])
    return found is not None and path in found.modules


def import_path(module: str) -> str | None:
    """Return the path that an import of ``module`` leads to; None where it may not be used."""
    if name_list(module.partition(".")[0]) is None or _is_listed(module):
        return module if len(module) < 200 else None
    return None


def is_module(path: str) -> bool:
    """Whether a path is a module, and not what is in one."""
    return module_at(path) is not None or ("." not in path and name_list(path) is None)
