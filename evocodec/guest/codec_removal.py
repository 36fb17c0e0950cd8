"""Codec removal: takes existing codecs out of the libraries that a fork server has loaded.

Replacing a name in a module is not enough: CPython keeps a copy of an extension's first names, the
garbage collector finds objects that are still referenced, and native code can be called by address.
So every reference to a function is replaced, its entry in the library's method table is
overwritten, classes lose their methods, and the code of bundled codec libraries is unmapped. Their
files are hidden too: see ``mounts.RootFolder.masked`` and ``exclude``.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import re
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from evocodec.isolation import linux

_PLAIN_OBJECT_BYTES = 16  # reference count and type: no debug build, and no free threading
_OFFSET_OF_TABLE_ENTRY: dict[type, int] = {
    types.BuiltinFunctionType: 16,  # PyCFunctionObject.m_ml
    types.MethodDescriptorType: 40,  # PyMethodDescrObject.d_method
}


def refuse(*_arguments: object, **_options: object) -> None:
    """Raise PermissionError; takes the place of a removed function."""
    raise PermissionError("existing codecs are not available to programs")


def remove(names: Mapping[str, str], libraries: str) -> None:
    """Remove functions and classes from loaded modules; ``names``: module → pattern of names.

    ``libraries`` is a pattern for file names of shared objects that hold nothing but codecs.
    """
    originals: list[object] = []
    for module_name, pattern in names.items():
        module = sys.modules.get(module_name)
        found = vars(module).items() if module else ()
        originals += [value for name, value in found if re.fullmatch(pattern, name)]
    _remove(originals)
    gc.collect()
    _unmap_code(libraries)


def remove_modules(pattern: str) -> None:
    """Remove all loaded modules whose full names match ``pattern``."""
    originals: list[object] = []
    for name in [name for name in sys.modules if re.fullmatch(pattern, name)]:
        module = sys.modules.pop(name)
        originals.append(module)
        originals += [
            value for value in vars(module).values() if getattr(value, "__module__", None) == name
        ]
    _remove(originals)


def _remove(originals: Sequence[object]) -> None:
    for original in originals:
        if isinstance(original, type):
            _remove_methods(original)
        disable(original)
    identities = set(map(id, originals))
    # Once for all of them: it looks at every object there is.
    for holder in gc.get_referrers(*originals):
        if isinstance(holder, dict):
            for name in [name for name, value in holder.items() if id(value) in identities]:
                holder[name] = refuse


def _remove_methods(kind: type) -> None:
    for name, value in dict(vars(kind)).items():
        if not name.startswith("__"):  # such as __new__, whose entry all classes share
            disable(value)
        if callable(value) or isinstance(value, staticmethod):
            with contextlib.suppress(TypeError, AttributeError):
                setattr(kind, name, refuse)


def disable(function: object) -> None:
    """Overwrite the function's entry in the library's method table, so that a call is an error."""
    entry = table_entry(function)
    if entry is not None:
        entry.value = linux.address_of(ctypes.pythonapi.PyErr_BadArgument)


def table_entry(function: object) -> ctypes.c_void_p | None:
    """Return the function's entry in the method table, made writable; None if it is unknown."""
    function = function.__func__ if isinstance(function, staticmethod) else function
    offset = _OFFSET_OF_TABLE_ENTRY.get(type(function))
    if offset is None or object.__basicsize__ != _PLAIN_OBJECT_BYTES:
        return None
    pointer = ctypes.sizeof(ctypes.c_void_p)
    entry = ctypes.c_void_p.from_address(id(function) + offset).value
    if entry is None:
        return None
    name = ctypes.c_char_p.from_address(entry).value
    if name != getattr(function, "__name__", "").encode():
        return None
    linux.make_writable(entry + pointer, pointer)
    return ctypes.c_void_p.from_address(entry + pointer)


def _unmap_code(libraries: str) -> None:
    """Replace the code of these libraries by inaccessible memory; nothing calls them any more."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        code = len(fields) == 6 and "x" in fields[1]
        if code and re.match(libraries, os.path.basename(fields[5])):
            start, end = (int(word, 16) for word in fields[0].split("-"))
            linux.map_nothing(start, end - start)


def import_all(names: Iterable[str]) -> None:
    """Import modules that cannot be imported once their files are hidden."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def exclude(allowed: Iterable[str], masked: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return ``allowed`` trees without ``masked`` paths, and the folders that were split for it.

    Landlock needs it, since its rules can only allow. Symbolic links are left out: their targets
    count.
    """
    kept: list[str] = []
    opened: list[str] = []
    for path in allowed:
        inside = [path_inside for path_inside in masked if path_inside.startswith(path + "/")]
        if path in masked:
            continue
        if not inside:
            kept.append(path)
            continue
        opened.append(path)
        with os.scandir(path) as entries:
            below = [entry.path for entry in entries if not entry.is_symlink()]
        kept_below, opened_below = exclude(below, [*inside])
        kept += kept_below
        opened += opened_below
    return kept, opened
