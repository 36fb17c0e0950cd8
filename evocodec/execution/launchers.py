"""Launcher pool of one worker process: warm fork servers for what its programs need."""

import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from evocodec.execution.emulation import emulated_processor
from evocodec.sandbox.forkserver import DEFAULT_PRELOAD, ForkServerLauncher
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.policy import Limits, Policy, available_imports
from evocodec.sandbox.providers import make_launcher

# Seconds to import, for every encode and decode anew unless the fork server has done it. Most
# programs use neither, and would pay for them in memory.
_HEAVY = ("numba", "torch")
_MAX_SERVERS = 4
# What launchers are for, and whether they emulate another processor.
_USES = {"measures": False, "verifies": True}
# The GPU that Ray has assigned to the present task, which the fork server's empty environment would
# not know of; another one may be assigned to the next task of this worker.
_GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class _Kind:
    policy: Policy
    preload: tuple[str, ...]
    emulated: bool
    gpus: str | None


class LauncherPool:
    """Owned by one worker, which runs one task at a time.

    Not for several threads, but for ``interrupt``.
    """

    def __init__(self) -> None:
        self._launchers: OrderedDict[_Kind, ForkServerLauncher] = OrderedDict()

    def get(self, program: str, policy: Policy, *, emulated: bool = False) -> ForkServerLauncher:
        """Return a launcher that suits ``program``; least recently used servers end for others."""
        kind = _Kind(policy, preload_for(program, policy), emulated, os.environ.get(_GPU_VARIABLE))
        launcher = self._launchers.get(kind)
        if launcher is None:
            while len(self._launchers) >= _MAX_SERVERS:
                self._launchers.popitem(last=False)[1].close()
            launcher = self._launchers[kind] = _launch(kind)
        self._launchers.move_to_end(kind)
        return launcher

    def describe(self, policy: Policy, limits: Limits) -> Mapping[str, IsolationReport]:
        """Return the layers of every launcher that measuring a program takes, by what it does.

        They start side by side, and stay. Raises InfrastructureFailure when one cannot start.
        """
        launchers = [self.get("", policy, emulated=emulated) for emulated in _USES.values()]
        with ThreadPoolExecutor(len(launchers)) as threads:
            reports = threads.map(lambda launcher: launcher.describe(limits), launchers)
            return dict(zip(_USES, reports, strict=True))

    def interrupt(self) -> None:
        """End all fork servers while they are in use; the owner closes the pool afterwards."""
        for launcher in list(self._launchers.values()):
            launcher.close()

    def close(self) -> None:
        """Stop all fork servers; the pool can be used again."""
        while self._launchers:
            self._launchers.popitem()[1].close()


def preload_for(program: str, policy: Policy) -> tuple[str, ...]:
    """Return what to import before forking: a word in ``program`` is hint enough."""
    mentioned = tuple(name for name in _HEAVY if re.search(rf"\b{name}\b", program))
    return DEFAULT_PRELOAD + tuple(name for name in mentioned if name in available_imports(policy))


def _launch(kind: _Kind) -> ForkServerLauncher:
    env = {} if kind.gpus is None else {_GPU_VARIABLE: kind.gpus}
    if kind.emulated:
        env |= emulated_processor()
    return make_launcher(kind.policy, preload=kind.preload, env=env)
