"""Removal of ctypes calls from programs that import nothing that needs them.

Hiding the module is not enough: NumPy loads it, and callable objects stay referenced. So the common
entry points are overwritten in the job's process, after its layers are entered: the slot that calls
a function object, and the functions that open libraries or take an address.
"""

import _ctypes
import ast
import ctypes
from collections.abc import Collection

from evocodec.guest.codec_removal import table_entry
from evocodec.isolation.linux import address_of

_POINTER = ctypes.sizeof(ctypes.c_void_p)
# Debug builds, and builds without a global interpreter lock, have another layout.
_KNOWN_LAYOUT = object.__basicsize__ == 2 * _POINTER
_TYPE_CALL = 16 * _POINTER  # PyTypeObject.tp_call
_WRAPPED = 6 * _POINTER  # PyWrapperDescrObject.d_wrapped
_FUNCTIONS = (
    *("dlopen", "dlsym", "dlclose", "call_function", "call_cdeclfunction", "resize"),
    *("PyObj_FromPtr", "Py_INCREF", "Py_DECREF", "_unpickle"),
)


def needed_by(program: str, libraries: Collection[str]) -> bool:
    """Whether ``program`` imports one of the ``libraries`` that use ctypes at run time."""
    if not any(name in program for name in libraries):
        return False  # a syntax tree takes longer than compiling
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.partition(".")[0])
    return not imported.isdisjoint(libraries)


def prepare() -> None:
    """Write the memory pages that ``remove`` will write, so that they are copied in advance."""
    if _KNOWN_LAYOUT:
        for slot in (*_entries(), *_calls()):
            slot.value = slot.value


def remove() -> None:
    """Make every ctypes call an error, through any object; cannot be undone."""
    if not _KNOWN_LAYOUT:
        return
    error = address_of(ctypes.pythonapi.PyErr_BadArgument)
    calls = _calls()
    original = calls[0].value
    for slot in (*_entries(), *(slot for slot in calls if slot.value == original)):
        slot.value = error


def _entries() -> list[ctypes.c_void_p]:
    functions = (vars(_ctypes).get(name) for name in _FUNCTIONS)
    return [entry for entry in map(table_entry, functions) if entry is not None]


def _calls() -> list[ctypes.c_void_p]:
    function_type = _ctypes.CFuncPtr
    addresses = [id(kind) + _TYPE_CALL for kind in _with_subclasses(function_type)]
    addresses.append(id(vars(function_type)["__call__"]) + _WRAPPED)
    return [ctypes.c_void_p.from_address(address) for address in addresses]


def _with_subclasses(kind: type) -> list[type]:
    below: list[type] = type.__subclasses__(kind)
    return [kind, *(descendant for subclass in below for descendant in _with_subclasses(subclass))]
