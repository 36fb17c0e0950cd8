"""All attacks, one module per theme."""

from collections.abc import Sequence

from evocodec.domain.errors import UserError
from evocodec.sandbox.redteam.attack import Attack, Theme
from evocodec.sandbox.redteam.attacks import (
    channels,
    cheating,
    deadlines,
    files,
    introspection,
    kernel,
    memory,
    network,
    paths,
    persistence,
    processes,
    results,
    scratch,
)
from evocodec.sandbox.redteam.capacity_channels import channel_names

ALL_ATTACKS: tuple[Attack, ...] = (
    *network.ATTACKS,
    *files.ATTACKS,
    *paths.ATTACKS,
    *scratch.ATTACKS,
    *processes.ATTACKS,
    *memory.ATTACKS,
    *deadlines.ATTACKS,
    *kernel.ATTACKS,
    *results.ATTACKS,
    *persistence.ATTACKS,
    *channels.ATTACKS,
    *introspection.ATTACKS,
    *cheating.ATTACKS,
)


def select_attacks(wanted: Sequence[str]) -> tuple[Attack, ...]:
    """Return the attacks of these themes or names (``files``, ``fork``); all for no name.

    Names of channels are known, but belong to ``select_channels``.

    Raises:
        UserError: nothing is called that.
    """
    if not wanted:
        return ALL_ATTACKS
    known = {
        *Theme,
        *channel_names(),
        *(a.name for a in ALL_ATTACKS),
        *(f"{a.theme}/{a.name}" for a in ALL_ATTACKS),
    }
    for word in wanted:
        if word not in known:
            message = f"there is no attack or theme {word!r}; `evocodec redteam --list` shows them"
            raise UserError(message)
    return tuple(
        attack
        for attack in ALL_ATTACKS
        if {attack.theme, attack.name, f"{attack.theme}/{attack.name}"} & set(wanted)
    )
