"""Import filter: makes libraries that a job may not read look as if they were not installed."""

import importlib.abc
import pkgutil
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType


class UnreadableModules(importlib.abc.MetaPathFinder):
    """Makes libraries that jobs may not read look absent, as ``try: import`` expects.

    No wall, a courtesy: without it, an optional import ends in PermissionError.
    """

    def __init__(self, readable: Iterable[str]) -> None:
        self._visible = {Path(path).name.partition(".")[0] for path in readable}
        self._visible |= {"evocodec", *sys.stdlib_module_names}
        self._hidden: re.Pattern[str] | None = None

    def hide(self, name: str) -> None:
        """Refuse to load a library once more: what was disabled in it would be back."""
        self._visible.discard(name)

    def hide_all(self, pattern: str) -> None:
        """Refuse to load modules whose full names match."""
        self._hidden = re.compile(pattern)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Refuse what is not readable; leave the rest to the finders after this one."""
        hidden = self._hidden is not None and self._hidden.fullmatch(fullname)
        if hidden or fullname.partition(".")[0] not in self._visible:
            raise ModuleNotFoundError(f"no module {fullname!r} in the sandbox", name=fullname)


def fill_import_caches() -> None:
    """List the folders on the path once: jobs need not, and may not always."""
    for folder in sys.path:
        finder = pkgutil.get_importer(folder)
        if finder is not None:
            finder.find_spec("a_module_that_does_not_exist", None)
