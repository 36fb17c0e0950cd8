"""Run plan: name, limits and fixed settings of a run, before it starts."""

import importlib.metadata
import math
import platform
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from agents.team import MUTATION_NOTICE
from evocodec import __version__
from evocodec.app.held_out_clips import new_secret
from evocodec.app.programs import BUILT_IN, FIRST_PROGRAM, built_in, looks_like_file, read_program
from evocodec.app.workspace import Workspace
from evocodec.champions.repository import ChampionRepository
from evocodec.codec.program import Program
from evocodec.config import Settings
from evocodec.config_sections import (
    EvaluationSettings,
    HeldOutSettings,
    JudgeSettings,
    LimitSettings,
)
from evocodec.domain.beginning import (
    Beginning,
    ClusterFacts,
    FixedSettings,
    Section,
    SubmittedProgram,
)
from evocodec.domain.errors import UserError
from evocodec.domain.events import (
    RunStarted,
    kinds_of,
)
from evocodec.execution.contract import EngineInfo
from evocodec.models.replay import replay_from
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger
from evocodec.telemetry.redact import Redactor

LIBRARY_CODECS_NOTICE = "Candidates may call existing codecs in this run: its numbers say so."


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run to start or to resume."""

    run_id: str
    resumed: int
    settings: Settings
    workspace: Workspace
    baselines: tuple[str, ...]
    """Hashes of the programs that open it, in the blob store."""
    submission: SubmittedProgram | None = None
    """A program from outside, when the run is there to measure that."""
    held_out_secret: str = ""
    """Hash of what the held-out clips are drawn of, in the blob store; empty: not drawn yet."""


def new_plan(
    settings: Settings,
    workspace: Workspace,
    ledger: Ledger,
    blobs: BlobStore,
    champions: ChampionRepository,
) -> RunPlan:
    """Plan a run that has not begun; raises ``UserError`` for one that could not."""
    if settings.run.replay:
        # Asked for now: a run that cannot be replayed must not begin another one.
        replay_from(ledger, blobs, settings.run.replay)
    if champions.remote:
        # Versions of another machine are the ones to beat, too.
        champions.prepare()
    baselines = tuple(blobs.put(program.data) for program in baseline_programs(settings, champions))
    secret = blobs.put(new_secret()) if settings.held_out.enabled else ""
    return RunPlan(new_run_id(), 0, settings, workspace, baselines, held_out_secret=secret)


def resumed_plan(run_id: str, settings: Settings, workspace: Workspace, ledger: Ledger) -> RunPlan:
    """Return the plan of a run to resume; raises ``UserError`` if it never started."""
    starts = [
        event
        for _, event in ledger.events(run_id, kinds=kinds_of(RunStarted))
        if isinstance(event, RunStarted)
    ]
    if not starts:
        message = f"{run_id} stopped before it began; start anew with `evocodec run`"
        raise UserError(message)
    began = starts[0].beginning
    if began is None:
        message = (
            f"{run_id} was begun by a version of evocodec that kept nothing to resume from; begin "
            "another run with `evocodec run`"
        )
        raise UserError(message)
    return RunPlan(
        run_id,
        len(starts),
        with_fixed(settings, began.fixed),
        workspace,
        began.baselines,
        began.submission,
        began.held_out_secret,
    )


def baseline_programs(settings: Settings, champions: ChampionRepository) -> tuple[Program, ...]:
    """The programs a new run opens with: the current version if there is one, then the seed.

    A program that is named with ``--program`` is measured even where a version exists; without
    one, evolution goes on from the current version.
    """
    current = champions.current()
    programs = [champions.program(current.version)] if current else []
    name = settings.run.program
    if name or not programs:
        named = _named_program(name or FIRST_PROGRAM)
        if named not in programs:
            programs.append(named)
    return tuple(programs)


def _named_program(name: str) -> Program:
    if looks_like_file(name):
        return Program(read_program(Path(name)))
    try:
        return Program(built_in(name))
    except (FileNotFoundError, ModuleNotFoundError) as error:
        known = ", ".join(BUILT_IN)
        message = f"there is no built-in program {name!r}; name a file, or one of: {known}"
        raise UserError(message) from error


def conflict_error(plan: RunPlan) -> UserError:
    """Return the error for a run that another controller has begun or resumed at the same time."""
    if plan.resumed:
        message = (
            f"{plan.run_id} was resumed elsewhere at the same moment, and goes on there; "
            "`evocodec status` shows it. Begin another run with `evocodec run`"
        )
    else:
        message = (
            f"another controller has just begun a run of the same name, {plan.run_id}; "
            "begin again with `evocodec run`"
        )
    return UserError(message)


def flat_settings(settings: Settings) -> dict[str, str]:
    """Return all settings as texts by their full names, as the run's first event lists them."""
    flat: dict[str, str] = {}
    # A URL may carry a password or a token.
    hide = Redactor(settings.secrets())
    for section, values in settings.model_dump(mode="json").items():
        if isinstance(values, dict):
            flat.update({f"{section}.{name}": hide(str(value)) for name, value in values.items()})
        else:
            flat[section] = hide(str(values))
    return flat


def notice_of(plan: RunPlan) -> str:
    """Return a notice for the person who starts the run; empty for none."""
    settings = plan.settings
    quiet = settings.model.configured or settings.run.replay or plan.submission
    notices = [] if quiet else [MUTATION_NOTICE]
    if settings.sandbox.allow_library_codecs:
        notices.append(LIBRARY_CODECS_NOTICE)
    return " ".join(notices)


def beginning_of(plan: RunPlan) -> Beginning:
    """Return what the run's first event keeps for a resume."""
    return Beginning(
        fixed=fixed_settings(plan.settings),
        baselines=plan.baselines,
        submission=plan.submission,
        held_out_secret=plan.held_out_secret,
    )


def cluster_facts(settings: Settings, info: EngineInfo) -> ClusterFacts:
    """Return where the tasks of a run go."""
    return ClusterFacts(
        address=info.address,
        dashboard_url=info.dashboard_url,
        cpus=info.cpus,
        gpus=info.gpus,
        gpus_per_task=settings.ray.gpus_per_task,
    )


def software() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("ray", "langgraph", "numpy", "opencv-python-headless", "constriction", "scipy")
    found = {name: importlib.metadata.version(name) for name in (*names, "imageio-ffmpeg")}
    return {"evocodec": __version__, "python": platform.python_version(), **found}


def fixed_settings(settings: Settings) -> FixedSettings:
    """Return what a resumed run keeps from its start: clips, stages, rules, seed."""
    return FixedSettings(
        seed=settings.run.seed,
        evaluation=_plain(settings.evaluation),
        judge=_plain(settings.judge),
        held_out=_plain(settings.held_out),
        limits=_plain(settings.limits),
    )


def with_fixed(settings: Settings, fixed: FixedSettings) -> Settings:
    """Today's settings, with what the run was begun with where that must not change."""
    held_out = {"enabled": False} if fixed.held_out is None else fixed.held_out
    return settings.model_copy(
        update={
            "evaluation": EvaluationSettings.model_validate(fixed.evaluation),
            "judge": JudgeSettings.model_validate(fixed.judge),
            # Runs begun before these existed knew no gate, drew once for it, compared a version
            # with its rule's line only, and knew no limits.
            "held_out": HeldOutSettings.model_validate(
                {"derived_most": 0, "excess_percent": math.inf, **held_out}
            ),
            "limits": LimitSettings.model_validate(
                {"max_program_kib": 0, "charge_program": False, **(fixed.limits or {})}
            ),
            "run": settings.run.model_copy(update={"seed": fixed.seed}),
        }
    )


def _plain(section: BaseModel) -> Section:
    values = section.model_dump(mode="json")
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def new_run_id() -> str:
    """A name for a run that sorts by time: ``run-20261017-013635-4f0c``.

    The end is drawn at random: controllers that share tables may begin in the same second.
    """
    return time.strftime(f"run-%Y%m%d-%H%M%S-{secrets.token_hex(2)}", time.gmtime())
