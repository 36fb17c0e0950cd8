"""The doctor: what this machine has, what is missing, and what to do about it."""

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from evocodec.app.engine import make_limits, make_policy
from evocodec.app.workspace import Workspace
from evocodec.config import Settings
from evocodec.domain.check import Check
from evocodec.domain.errors import ConfigError, EndpointUnavailable, EvocodecError
from evocodec.execution.launchers import LauncherPool
from evocodec.models.endpoint import endpoint_for
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.policy import UNSAFE_FLOOR


def all_checks(settings: Settings, workspace: Workspace) -> tuple[Check, ...]:
    """Every check, in the order in which a problem should be solved."""
    checks: list[Callable[[], Check]] = [
        _python,
        _own_packages,
        lambda: _workspace(workspace),
        lambda: _stores(settings, workspace),
        _git,
        _ffmpeg,
        lambda: _sandbox(settings),
        _clips,
        _torch,
        _machine,
        lambda: _model(settings),
    ]
    return tuple(_guarded(check) for check in checks)


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except EvocodecError as error:
        return Check(getattr(check, "__name__", "check").strip("_"), "fail", str(error))


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", "ok", f"{version} at {sys.executable}")


def _own_packages() -> Check:
    """Another distribution ships a package called ``agents``: ours has to win."""
    here = Path(__file__).resolve().parents[2]
    for name in ("agents", "graph"):
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found is None or found.parent.parent != here:
            return Check(
                "packages",
                "fail",
                f"`import {name}` finds {found or 'nothing'} instead of {here / name}",
                "uninstall the distribution that ships it (pip uninstall openai-agents), "
                "or use a fresh virtual environment",
            )
    return Check("packages", "ok", f"agents and graph are Evocodec's own, in {here}")


def _workspace(workspace: Workspace) -> Check:
    free = shutil.disk_usage(workspace.root).free / 2**30
    detail = f"{workspace.root}, {free:.1f} GiB free"
    if free > 1:
        return Check("workspace", "ok", detail)
    fix = "free some space, or name another folder with --workspace"
    return Check("workspace", "warn", detail, fix)


def _stores(settings: Settings, workspace: Workspace) -> Check:
    from evocodec.app.store_admin import check_stores

    checks = check_stores(settings, workspace)
    worst = max(checks, key=lambda check: ("ok", "warn", "fail").index(check.state))
    if worst.state != "ok":
        return Check("stores", worst.state, worst.detail, worst.fix)
    return Check("stores", "ok", "; ".join(check.detail for check in checks))


def _git() -> Check:
    path = shutil.which("git")
    if path is None:
        fix = "install git: adopted versions are commits (apt-get install git)"
        return Check("git", "fail", "not found", fix)
    return Check("git", "ok", path)


def _ffmpeg() -> Check:
    from evocodec.video.ffmpeg import ffmpeg_version

    return Check("ffmpeg", "ok", f"{ffmpeg_version()} (imageio-ffmpeg, with x265)")


def _sandbox(settings: Settings) -> Check:
    """Every launcher that a run uses here, each layer of each, and why one is off."""
    policy = make_policy(settings)
    # Without a floor, so that missing layers are reported instead of refused.
    open_policy = replace(
        policy, floor=UNSAFE_FLOOR, mode="pod" if policy.mode == "pod" else "auto"
    )
    with contextlib.closing(LauncherPool()) as pool:
        reports = pool.describe(open_policy, make_limits(settings))
    weakest = IsolationReport.weakest(reports)
    parts = _layer_states(reports)
    missing = weakest.missing_for(policy.required)
    if missing:
        return Check(
            "sandbox",
            "fail",
            f"below the floor, missing: {', '.join(missing)}",
            "use a Linux kernel with seccomp (and user namespaces or Landlock, if you can), "
            "or --unsafe on a machine that has nothing to lose",
            parts,
        )
    off = [layer for layer in weakest.layers if not weakest.holds(layer)]
    on = len(weakest.layers) - len(off)
    detail = f"{on} layers on" + (f", {len(off)} off: {', '.join(off)}" if off else "")
    return Check("sandbox", "ok", detail, parts=parts)


def _layer_states(reports: Mapping[str, IsolationReport]) -> dict[str, str]:
    """Layer → state, once where all launchers agree."""
    states = {}
    for layer in sorted({layer for report in reports.values() for layer in report.layers}):
        found = {use: report.layers.get(layer, "off") for use, report in reports.items()}
        if len(set(found.values())) == 1:
            states[str(layer)] = next(iter(found.values()))
        else:
            for use, state in found.items():
                states[f"{layer} (launcher that {use})"] = state
    return states


def _clips() -> Check:
    from evocodec.video.clips import default_clips

    clips = default_clips()
    gone = [clip.name for clip in clips if not Path(clip.path).exists()]
    if gone:
        fix = "reinstall: pip install -c constraints.txt -e ."
        return Check("clips", "fail", f"built-in clips missing: {', '.join(gone)}", fix)
    return Check("clips", "ok", ", ".join(clip.name for clip in clips))


def _torch() -> Check:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "torch",
            "warn",
            "not installed: candidates cannot use learned transforms",
            "make install TORCH=yes",
        )
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return Check("torch", "ok", f"{version}, {gpus} NVIDIA device(s)")


def _machine() -> Check:
    cpus = os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    detail = f"{cpus} CPUs, {memory:.1f} GiB of memory"
    if memory >= 4:
        return Check("machine", "ok", detail)
    fix = "candidates and Ray want about 4 GiB; lower sandbox.memory_mib"
    return Check("machine", "warn", detail, fix)


def _model(settings: Settings) -> Check:
    model = settings.model
    if not model.configured:
        return Check(
            "model",
            "ok",
            "none configured: the built-in mutation proposer is used",
            "set EVOCODEC_MODEL__BASE_URL and EVOCODEC_MODEL__MODEL to use one",
        )
    if not model.preflight:
        endpoints = dict.fromkeys(endpoint_for(model, role) for role in model.roles)
        named = dict.fromkeys(f"{one.model} at {one.shown_url}" for one in endpoints)
        return Check("model", "ok", f"{'; '.join(named)}; not asked (model.preflight is off)")
    from evocodec.app.endpoint_check import endpoints_now

    try:
        found = endpoints_now(model)
    except (ConfigError, EndpointUnavailable) as error:
        text = str(error).removesuffix(", then resume the run")
        return Check("model", "fail", text)
    return Check("model", "ok", ". ".join(one.text for one in found))
