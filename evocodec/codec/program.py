"""A program as a value: its text, and what parsing the text once yields."""

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from evocodec.codec.program_digest import program_digests
from evocodec.codec.program_size import packed_program_bytes
from evocodec.codec.syntax import UNPARSABLE, parse
from evocodec.codec.tunables import Tunable, TunableError, apply_edits, canonical, find_tunables
from evocodec.domain.program import ProgramFacts


@dataclass(frozen=True, slots=True)
class Tunables:
    """The marked constants of a program; ``error`` says why a malformed program has none."""

    found: tuple[Tunable, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Program:
    """Text of a codec, from its author to the commit; two programs of the same text are equal.

    Each property is computed once, at its first use. ``known_facts`` and
    ``known_tunables`` were derived elsewhere: with them nothing is parsed here.
    """

    text: str = field(repr=False)
    known_facts: ProgramFacts | None = field(default=None, repr=False, compare=False)
    known_tunables: Tunables | None = field(default=None, repr=False, compare=False)

    @cached_property
    def data(self) -> bytes:
        """The text in UTF-8; raises ValueError for a lone surrogate."""
        return self.text.encode()

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the text in hexadecimal: what blobs and events call the program."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def tree(self) -> ast.Module:
        """The syntax tree; it must not be changed.

        Raises SyntaxError, ValueError, RecursionError or MemoryError for a text that is none.
        """
        parsed = self._parsed
        if isinstance(parsed, ast.Module):
            return parsed
        raise parsed

    @cached_property
    def _parsed(self) -> ast.Module | Exception:
        try:
            return parse(self.text)
        except UNPARSABLE as error:
            return error.with_traceback(None)

    @cached_property
    def facts(self) -> ProgramFacts:
        """Facts that others need without parsing the program."""
        return self.known_facts or self._derive_facts()

    @property
    def tunables(self) -> tuple[Tunable, ...]:
        """Its tunables, in their order.

        Raises TunableError, naming the line, for a malformed tunable and for a program that does
        not parse.
        """
        known = self.tunables_or_error
        if known.error:
            raise TunableError(known.error)
        return known.found

    @property
    def readable_tunables(self) -> tuple[Tunable, ...]:
        """Its tunables; none where they are malformed."""
        return self.tunables_or_error.found

    def edited(self, edits: Sequence[tuple[str, str]]) -> "Program":
        """The program with other values of its tunables; every other byte stays.

        Raises TunableError for an unknown name, a value that is not allowed, and a name
        that is edited twice.
        """
        return Program(apply_edits(self.text, self.tunables, edits))

    @cached_property
    def tunables_or_error(self) -> Tunables:
        """Its tunables, or what is wrong with them."""
        if self.known_tunables is not None:
            return self.known_tunables
        try:
            return Tunables(find_tunables(self.text, self.tree))
        except TunableError as error:
            return Tunables(error=str(error))
        except UNPARSABLE as error:
            return Tunables(error=f"the program does not parse, so it has no tunables: {error}")

    def _derive_facts(self) -> ProgramFacts:
        parsed = self._parsed
        tree = parsed if isinstance(parsed, ast.Module) else None
        digest, near_digest = program_digests(self.text, tree)
        return ProgramFacts(
            digest=digest,
            near_digest=near_digest,
            tunables=tuple((t.name, canonical(t.value)) for t in self.readable_tunables),
            packed_bytes=packed_program_bytes(self.text, tree),
        )


def unparsed_facts(program: Program) -> ProgramFacts:
    """Return the facts of a program that must not be parsed; its size is unknown too."""
    exact, near = program_digests(program.text, None)
    return ProgramFacts(exact, near, (), len(program.data))


def derive_facts(text: str) -> ProgramFacts:
    """Parse a program's text and say what others need to know of it; executes nothing."""
    return Program(text).facts
