"""A program's imports: found in its compiled code, and loaded before its first line runs.

All of them count, wherever they stand: in functions, after conditions, and parts of libraries that
are loaded when they are first used, such as ``scipy.signal`` after ``import scipy``. Afterwards no
file can be opened, so what is not loaded by then cannot be loaded any more.
"""

import codecs
import contextlib
import functools
import importlib
import opcode
import os
import pkgutil
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from evocodec.guest.import_filter import ClosedImports

_IMPORT_NAME = opcode.opmap["IMPORT_NAME"]
_IMPORT_FROM = opcode.opmap["IMPORT_FROM"]
_EXTENDED_ARG = opcode.opmap["EXTENDED_ARG"]
_IMPORTS = re.compile(b"[%s]" % re.escape(bytes((_IMPORT_NAME, _IMPORT_FROM))))
# A text's encoding, where it is written out: ``text.encode("cp437")``, ``bytes(text, "utf-16")``.
_ENCODING = re.compile(
    r"""(?:\.(?:en|de)code\(\s*|\bencoding\s*=\s*|\b(?:bytes|str)\([^()\n]{0,200}?,\s*)"""
    r"""["']([\w-]+)["']"""
)


@dataclass(slots=True)
class ProgramImports:
    """What a program imports.

    ``modules``: module → the names that are imported from it, in the program's order. ``used``:
    all names in the program, attributes among them.
    """

    modules: dict[str, list[str]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


def find(code: types.CodeType) -> ProgramImports:
    """Return the imports of a compiled program; the compiler has left out what can never run."""
    found = ProgramImports()
    waiting = [code]
    while waiting:
        block = waiting.pop()
        found.used.update(block.co_names)
        module, names = "", list[str]()
        for operation, argument in _import_operations(block.co_code):
            name = block.co_names[argument]
            if operation == _IMPORT_NAME:
                module, names = name, found.modules.setdefault(name, [])
            elif name not in module.split("."):  # as in ``import a.b as c``
                names.append(name)
        inside = [value for value in block.co_consts if isinstance(value, types.CodeType)]
        waiting += reversed(inside)
    return found


def _import_operations(code: bytes) -> Iterator[tuple[int, int]]:
    """Yield the operations that import, with their arguments; two bytes each, caches are zero."""
    operations, arguments = code[::2], code[1::2]
    for match in _IMPORTS.finditer(operations):
        at = match.start()
        argument, shift = arguments[at], 8
        while at and operations[at - 1] == _EXTENDED_ARG:
            at -= 1
            argument |= arguments[at] << shift
            shift += 8
        yield operations[match.start()], argument


def load(code: types.CodeType, text: str) -> ClosedImports:
    """Import what a program imports; returns the finder that answers for it from now on.

    What cannot be imported fails again, in the same way, at the program's own line.
    """
    imports = find(code)
    failures: dict[str, Exception] = {}
    for module, names in imports.modules.items():
        _import(module, names, failures)
    _load_parts(imports)
    warm_up()
    if "parallel" in text and "numba" in sys.modules:
        _start_numba_threads()
    if "torch" in sys.modules:
        _load_for_torch(text, imports.used)
    for name in set(_ENCODING.findall(text)):
        with contextlib.suppress(LookupError, ValueError):
            codecs.lookup(name)
    return ClosedImports(failures)


def _import(module: str, names: list[str], failures: dict[str, Exception]) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - a library may raise anything; it is raised again
        culprit = error.name if isinstance(error, ImportError) and error.name else module
        for name in {module, module.partition(".")[0], culprit} - sys.modules.keys():
            failures.setdefault(name, error.with_traceback(None))
        return
    for name in names:
        if not hasattr(sys.modules[module], name):
            # Perhaps a module; perhaps a mistake, about which the program's own line complains.
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{module}.{name}")


def _load_parts(imports: ProgramImports) -> None:
    """Load the parts that libraries load when their names are first used."""
    libraries = {name.partition(".")[0] for name in imports.modules} | imports.modules.keys()
    waiting = sorted(libraries & sys.modules.keys())
    for library in waiting:  # and what this adds to it
        module = sys.modules[library]
        for name in sorted(_lazy_parts(library) & imports.used - vars(module).keys()):
            with contextlib.suppress(Exception):  # as it would for the program
                getattr(module, name)
                if f"{library}.{name}" in sys.modules:
                    waiting.append(f"{library}.{name}")


@functools.cache
def _lazy_parts(library: str) -> frozenset[str]:
    """Return the parts of a package that may be loaded when they are used."""
    module = sys.modules[library]
    if "__getattr__" not in vars(module) or not hasattr(module, "__path__"):
        return frozenset()
    return frozenset(part.name for part in pkgutil.iter_modules(module.__path__))


def warm_up() -> None:
    """Have loaded libraries load what they load when first used; the fork server may do it too."""
    for name in sorted(_WARM_UPS.keys() & sys.modules.keys() - _warm):
        _warm.add(name)
        _WARM_UPS[name]()
    for name in _WITH_LAZY_PARTS & sys.modules.keys():
        _lazy_parts(name)  # their folders are listed once, and not by each job


def _warm_up_numba() -> None:
    """Compile once: numba loads most of its compiler then, and looks for extensions in files."""
    sys.modules["numba"].njit(lambda number: number + 1)(1)


def _start_numba_threads() -> None:
    """Load the library of threads that parallel loops run on, and start them."""
    with contextlib.suppress(ImportError):
        importlib.import_module("numba.np.ufunc.parallel")._launch_threads()


def _load_for_torch(text: str, used: set[str]) -> None:
    """Load what its optimisers import at their first step; open a GPU's devices, if it may."""
    if "optim" in used:
        with contextlib.suppress(ImportError):
            importlib.import_module("torch._dynamo")
    if "cuda" in text and os.path.exists("/dev/nvidiactl"):
        torch = sys.modules["torch"]
        with contextlib.suppress(Exception):  # it fails again, for the program
            image = torch.ones((1, 1, 8, 8), device="cuda")
            torch.nn.functional.conv2d(image, image)  # cuDNN opens its parts
            (image @ image).sum().item()


def _warm_up_scipy() -> None:
    """Load what its optimisers ask for, even if they are to use one process."""
    importlib.import_module("multiprocessing")


def _warm_up_pillow() -> None:
    """Load what turns pictures into bytes, arrays among them."""
    importlib.import_module("PIL.ImageFile")


_WARM_UPS: Mapping[str, Callable[[], None]] = {
    "PIL.Image": _warm_up_pillow,
    "numba": _warm_up_numba,
    "scipy": _warm_up_scipy,
}
_WITH_LAZY_PARTS = {"numpy", "scipy", "torch"}
_warm: set[str] = set()
