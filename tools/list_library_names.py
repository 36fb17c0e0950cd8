"""Compare the lists of what programs may use of libraries with the libraries installed here.

``python -m tools.list_library_names`` names what a library has that no list knows, and what a list
knows that the library no longer has. ``--write`` drops the latter from the lists and puts the
former under ``unlisted_name``, where it stays refused until a person moves it to ``allow``, or to
the rule that says why it is left out. Read what a new function does before you allow it: does it
take a path, start a thread, read a clock, call a codec, evaluate a text, give a module or an
address away?
"""

import argparse
import importlib
import importlib.metadata
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

from evocodec.sandbox.review.library_names import Module, NameList, parse_list

LISTS = Path(__file__).parents[1] / "evocodec" / "sandbox" / "review" / "libraries"
_PACKAGES = {"cv2": "opencv-python-headless"}
_WITHOUT_A_LIST = frozenset({"cv2", "torch"})  # __all__ is empty, or lacks most names
_WIDTH = 100


def installed_version(name: str) -> str | None:
    """Version of the library of a list; None where it is not installed."""
    if name == "standard":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    if name == "evocodec":
        return "this"
    try:
        return importlib.metadata.version(_PACKAGES.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        return None


def public_names(path: str) -> frozenset[str]:
    """Public names of a module that are no modules."""
    module = _module(path)
    listed = getattr(module, "__all__", None)
    names = dir(module) if listed is None or path in _WITHOUT_A_LIST else listed
    return frozenset(name for name in names if _is_public(module, name))


def _module(path: str) -> types.ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:  # compiled into its parent, as constriction's are
        parent, _, name = path.rpartition(".")
        found = getattr(_module(parent), name)
        assert isinstance(found, types.ModuleType)  # noqa: S101 - the list is wrong
        return found


def _is_public(module: types.ModuleType, name: str) -> bool:
    if name.startswith("_"):
        return False
    return not isinstance(getattr(module, name, None), types.ModuleType)


def differences(listed: NameList) -> Iterator[tuple[str, frozenset[str], frozenset[str]]]:
    """For each module that differs: its path, its new names, and those that vanished."""
    for path, module in listed.modules.items():
        if path == "__future__":
            continue
        known = (module.allowed - module.later) | module.left_out.keys()
        here = public_names(path)
        new = frozenset(
            name for name in here - known if not module.has(name) and not _is_number(path, name)
        )
        gone = frozenset(name for name in known - here if not _exists(path, name))
        if new or gone:
            yield path, new, gone


def _is_number(path: str, name: str) -> bool:
    """Constants that no list has do no harm: they stay refused without a word."""
    return isinstance(getattr(_module(path), name, None), int | float)


def _exists(path: str, name: str) -> bool:
    return hasattr(_module(path), name)


def render(listed: NameList, title: str) -> str:
    """Write a list as its file has it."""
    lines = [f"# {title}", f"version: {listed.version}"]
    for path, module in listed.modules.items():
        lines += ["", f"[{path}]"]
        if module.otherwise != "unlisted_name":
            lines.append(f"otherwise: {module.otherwise}")
        for key, names in _groups(module):
            lines += _wrapped(key, names)
    return "\n".join(lines) + "\n"


def _groups(module: Module) -> Iterator[tuple[str, Iterable[str]]]:
    yield "allow", module.allowed - module.called - module.bases - module.later
    yield "later", module.later
    yield "called", module.called
    yield "bases", module.bases
    yield "constants", [f"{prefix}*" for prefix in module.prefixes]
    for rule in sorted(set(module.left_out.values())):
        yield rule, [name for name, why in module.left_out.items() if why == rule]


def _wrapped(key: str, names: Iterable[str]) -> list[str]:
    ordered = sorted(names, key=lambda name: (name.lower(), name))
    if not ordered:
        return []
    return textwrap.wrap(
        f"{key}: {' '.join(ordered)}",
        _WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def updated(listed: NameList, version: str) -> NameList:
    """The list with new names left out, and without those that vanished."""
    modules = dict(listed.modules)
    for path, new, gone in differences(listed):
        module = modules[path]
        left_out = {**module.left_out, **dict.fromkeys(new, module.otherwise)}
        modules[path] = Module(
            allowed=module.allowed - gone,
            called=module.called - gone,
            bases=module.bases - gone,
            prefixes=module.prefixes,
            later=module.later,
            left_out={name: why for name, why in left_out.items() if name not in gone},
            otherwise=module.otherwise,
        )
    return NameList(version, modules)


def main() -> int:
    """Compare, and write where asked; returns 1 for a difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("lists", nargs="*", help="such as numpy; all without any")
    parser.add_argument("--write", action="store_true", help="bring the lists up to date")
    options = parser.parse_args()
    found = 0
    for file in sorted(LISTS.glob("*.txt")):
        version = installed_version(file.stem)
        if (options.lists and file.stem not in options.lists) or version is None:
            continue
        text = file.read_text(encoding="utf-8")
        listed = parse_list(text)
        for path, new, gone in differences(listed):
            found = 1
            print(f"{path}: new {sorted(new)}, gone {sorted(gone)}")  # noqa: T201
        if options.write:
            title = text.partition("\n")[0].removeprefix("# ")
            file.write_text(render(updated(listed, version), title), encoding="utf-8")
    return found


if __name__ == "__main__":
    sys.exit(main())
