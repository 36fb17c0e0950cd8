"""Events of older ledgers, brought into today's form as they are read.

Before 0.2 the first event of a run kept what it was begun with as texts among its settings, some of
them JSON. All readers of a ledger get typed fields only.
"""

import json
import re
from dataclasses import replace
from typing import Any, Final

from evocodec.domain.beginning import (
    Beginning,
    ClusterFacts,
    FixedSettings,
    ModelBudget,
    Section,
    SubmittedProgram,
)
from evocodec.domain.errors import UserError
from evocodec.domain.events import Event, RunStarted

_FIXED: Final = "run.fixed"
_BASELINES: Final = "run.baselines"
_SUBMISSION: Final = "run.submission"
_SECRET: Final = "run.held_out_draws"  # noqa: S105 - a setting's name
_NOTICE: Final = "notice"
_MACHINE: Final = "machine"
_ADDRESS: Final = "ray.address_used"
_DASHBOARD: Final = "ray.dashboard"
_PACKED: Final = frozenset(
    {_FIXED, _BASELINES, _SUBMISSION, _SECRET, _NOTICE, _MACHINE, _ADDRESS, _DASHBOARD}
)


def upgrade(event: Event) -> Event:
    """Return the event in today's form; one that has it already is returned as it is.

    Raises:
        UserError: what an older version wrote into it is damaged.
    """
    if not isinstance(event, RunStarted) or not _PACKED & event.settings.keys():
        return event
    packed = {name: event.settings.get(name, "") for name in _PACKED}
    cpus, gpus = _machine(packed[_MACHINE])
    return replace(
        event,
        settings={name: text for name, text in event.settings.items() if name not in _PACKED},
        beginning=_beginning(event.run_id, packed) if packed[_FIXED] else None,
        cluster=ClusterFacts(
            address=packed[_ADDRESS],
            dashboard_url=packed[_DASHBOARD],
            cpus=cpus,
            gpus=gpus,
            gpus_per_task=_number(event.settings.get("ray.gpus_per_task", "")),
        ),
        budget=ModelBudget(
            usd=_number(event.settings.get("model.budget_usd", "")),
            tokens=int(_number(event.settings.get("model.budget_tokens", ""))),
        ),
        notice=packed[_NOTICE],
    )


def _beginning(run_id: str, packed: dict[str, str]) -> Beginning:
    try:
        fixed = json.loads(packed[_FIXED])
        submission = json.loads(packed[_SUBMISSION]) if packed[_SUBMISSION] else None
        return Beginning(
            fixed=FixedSettings(
                seed=fixed["seed"],
                evaluation=_section(fixed["evaluation"]),
                judge=_section(fixed["judge"]),
                held_out=_section(fixed["held_out"]) if "held_out" in fixed else None,
                limits=_section(fixed["limits"]) if "limits" in fixed else None,
            ),
            baselines=tuple(packed[_BASELINES].split(",")),
            submission=SubmittedProgram(*submission) if submission else None,
            held_out_secret=packed[_SECRET],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"what {run_id} was begun with cannot be read from the ledger ({error!r}): it is "
            "damaged. Begin another run with `evocodec run`"
        ) from error


def _section(values: dict[str, Any]) -> Section:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def _machine(text: str) -> tuple[float, float]:
    found = re.fullmatch(r"(\S+) CPUs, (\S+) GPUs", text)
    return (_number(found[1]), _number(found[2])) if found else (0.0, 0.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
