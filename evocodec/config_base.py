"""Base of the sections of settings: frozen, with lists of which files may set what."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


def names(text: str) -> frozenset[str]:
    """Return the names of settings that a text lists."""
    return frozenset(text.split())


class Section(BaseModel):
    """A frozen group of settings that refuses unknown names.

    A settings file that is only found in the current folder may have been written by an attacker.
    Each section says for every setting how far such a file is trusted before ``evocodec trust``:

    * ``ANY_FILE``: it may set these;
    * ``TRUSTED_FILE``: it may not. They switch a protection off, say where a key, a program or a
      record goes, or make numbers mean less;
    * ``OWN_FOLDER``: paths that it may set to something inside its own folder;
    * ``OWN_WORKSPACE``: paths that it may set to something inside the workspace.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ANY_FILE: ClassVar[frozenset[str]] = frozenset()
    TRUSTED_FILE: ClassVar[frozenset[str]] = frozenset()
    OWN_FOLDER: ClassVar[frozenset[str]] = frozenset()
    OWN_WORKSPACE: ClassVar[frozenset[str]] = frozenset()
