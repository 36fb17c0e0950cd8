"""Red team: attacks on the sandbox that candidates get."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from evocodec.app.engine import make_policy
from evocodec.config import Settings
from evocodec.sandbox.forkserver import DEFAULT_PRELOAD
from evocodec.sandbox.policy import Mode
from evocodec.sandbox.providers import make_launcher
from evocodec.sandbox.redteam.attack import Attack
from evocodec.sandbox.redteam.capacity import Channel
from evocodec.sandbox.redteam.report import AttackResult, RedTeamReport
from evocodec.sandbox.redteam.runner import run_attacks


def mount_attacks(
    settings: Settings,
    attacks: Sequence[Attack],
    *,
    channels: Sequence[Channel],
    mode: Mode | None,
    preload: Sequence[str],
    on_result: Callable[[AttackResult], None],
) -> RedTeamReport:
    """Mount these attacks on the sandbox that candidates get, in ``mode`` or as configured.

    ``preload``: libraries that the fork server loads besides the usual ones, such as torch.

    Raises:
        InfrastructureFailure: the sandbox does not start.
    """
    policy = make_policy(settings)
    policy = replace(policy, mode=mode) if mode else policy
    loaded = (*DEFAULT_PRELOAD, *preload)
    return run_attacks(
        lambda: make_launcher(policy, preload=loaded),
        attacks,
        policy,
        channels=channels,
        on_result=on_result,
    )
