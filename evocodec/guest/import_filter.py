"""Import filter: makes libraries that a job may not read look as if they were not installed."""

import _imp
import importlib.abc
import pkgutil
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType


class ImportFilter(importlib.abc.MetaPathFinder):
    """Makes libraries that jobs may not read look absent, as ``try: import`` expects.

    It is not an isolation layer: without it, an optional import would raise PermissionError.
    """

    def __init__(self, allowed_paths: Iterable[str]) -> None:
        self._visible = {Path(path).name.partition(".")[0] for path in allowed_paths}
        self._visible |= {"evocodec", *sys.stdlib_module_names}
        self._hidden: re.Pattern[str] | None = None

    def hide(self, name: str) -> None:
        """Refuse to load a library again: a fresh copy would have the removed functions."""
        self._visible.discard(name)

    def hide_all(self, pattern: str) -> None:
        """Refuse to load modules whose full names match ``pattern``."""
        self._hidden = re.compile(pattern)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Refuse libraries that are not allowed; leave all others to the next finders."""
        hidden = self._hidden is not None and self._hidden.fullmatch(fullname)
        if hidden or fullname.partition(".")[0] not in self._visible:
            raise ModuleNotFoundError(f"no module {fullname!r} in the sandbox", name=fullname)


class ClosedImports(importlib.abc.MetaPathFinder):
    """Answers for every module that is not loaded, once nothing can be opened any more.

    ``failures``: module → why it could not be loaded before.
    """

    def __init__(self, failures: Mapping[str, Exception]) -> None:
        self._failures = failures

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Raise the failure of before, or say what to do; modules of the interpreter pass."""
        if fullname in sys.builtin_module_names or _imp.is_frozen(fullname):
            return
        failure = self._failures.get(fullname)
        if failure is not None:
            raise failure
        raise ModuleNotFoundError(
            f"the program imports {fullname} while it runs, when no file can be opened any more; "
            f"write `import {fullname}` at its top",
            name=fullname,
        )


def fill_import_caches() -> None:
    """List the import folders once: jobs need not list them, and may not be allowed to."""
    for folder in sys.path:
        finder = pkgutil.get_importer(folder)
        if finder is not None:
            finder.find_spec("a_module_that_does_not_exist", None)
