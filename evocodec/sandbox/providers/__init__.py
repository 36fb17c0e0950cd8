"""Sandbox providers: choose the launcher that the policy names."""

from collections.abc import Mapping, Sequence

from evocodec.sandbox.forkserver import DEFAULT_PRELOAD, ForkServerLauncher
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.providers.bubblewrap import BubblewrapLauncher


def make_launcher(
    policy: Policy,
    *,
    preload: Sequence[str] = DEFAULT_PRELOAD,
    env: Mapping[str, str] | None = None,
) -> ForkServerLauncher:
    """Return the launcher that the policy names.

    Raises InfrastructureFailure when its provider needs a program that is not installed.
    """
    if policy.provider == "bubblewrap":
        return BubblewrapLauncher(policy, preload=preload, env=env)
    return ForkServerLauncher(policy, preload=preload, env=env)
