"""Facts of a program's text, derived once and kept with the event that recorded it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """Facts from parsing a program, kept so that it need not be parsed again.

    ``digest`` is SHA-256 of what the program does: its bytecode, without comments, docstrings and
    names of local variables. ``near_digest`` is the same with float constants rounded to two
    significant digits. ``tunables`` are (name, canonical value) of every constant marked with
    ``evolve:``, in the program's order. ``packed_bytes`` is its compressed size in bytes.
    """

    digest: str
    near_digest: str
    tunables: tuple[tuple[str, str], ...] = ()
    packed_bytes: int = 0
