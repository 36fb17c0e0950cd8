"""Facts of a program's text, derived once and kept with the event that recorded it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """What parsing a program yields that others need, so that nobody parses it again.

    ``digest`` is SHA-256 of what the program does (bytecode without names, comments and docstrings);
    ``near_digest`` is the same with float constants rounded to two significant digits. ``tunables``
    are (name, canonical value) of every constant marked with ``evolve:``, in the program's order.
    ``packed_bytes`` is the size of the program compressed, in bytes.
    """

    digest: str
    near_digest: str
    tunables: tuple[tuple[str, str], ...] = ()
    packed_bytes: int = 0
