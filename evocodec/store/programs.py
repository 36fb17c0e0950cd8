"""Programs by SHA-256, over a blob store: each is read and analysed once while it is in use."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from evocodec.codec.program import Program
from evocodec.store.blobs import BlobStore

_REMEMBERED = 64  # parents, the version to beat, and what every candidate in flight works on


class ProgramStore:
    """Keeps programs as blobs, and the last ones used in memory; any thread may call.

    ``analyse`` returns a program with everything derived that others ask of it. Programs are
    returned analysed, so their users do not parse them.
    """

    def __init__(self, blobs: BlobStore, analyse: Callable[[Program], Program]) -> None:
        self._blobs = blobs
        self._analyse = analyse
        # Threads that look at once must not break the order of use.
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Program] = OrderedDict()

    def put(self, program: Program) -> Program:
        """Keep a program durably, under its ``sha256``, and return it analysed."""
        self._blobs.put(program.data)
        return self._remember(program)

    def get(self, sha256: str) -> Program:
        """Return a program; raises what ``BlobStore.get`` raises."""
        with self._lock:
            known = self._known.get(sha256)
            if known is not None:
                self._known.move_to_end(sha256)
                return known
        return self._remember(Program(self._blobs.get(sha256).decode()))

    def _remember(self, program: Program) -> Program:
        analysed = self._analyse(program)
        with self._lock:
            self._known[analysed.sha256] = analysed
            self._known.move_to_end(analysed.sha256)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return analysed
