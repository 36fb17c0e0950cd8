"""Engine construction from settings."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from evocodec.config import Settings, bytes_of_kib, bytes_of_mib
from evocodec.domain.errors import (
    ConfigError,
    UserError,
)
from evocodec.domain.vocabulary import Layer
from evocodec.execution.contract import EngineOptions
from evocodec.metrics.vmaf import require_libvmaf
from evocodec.sandbox.launcher import IsolationReport, Launcher
from evocodec.sandbox.policy import DEFAULT_FLOOR, UNSAFE_FLOOR, Floor, Limits, Policy
from evocodec.sandbox.providers import make_launcher

WRITER_ID = "candidate"
"""Every measured stream is packed under this name, so that its header counts the same for all."""

GPU_DEVICES = (
    *("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"),
    *(f"/dev/nvidia{number}" for number in range(16)),
)
"""Device files of an NVIDIA GPU; those that a worker does not have are left out there."""


def make_policy(settings: Settings) -> Policy:
    """Return the sandbox policy for candidates."""
    return Policy(
        allow_library_codecs=settings.sandbox.allow_library_codecs,
        max_program_bytes=bytes_of_kib(settings.sandbox.max_program_kib),
        max_literal_bytes=bytes_of_kib(settings.sandbox.max_literal_kib),
        floor=_floor(settings),
        provider=settings.sandbox.provider,
        devices=GPU_DEVICES if settings.ray.gpus_per_task > 0 else (),
        mode=settings.sandbox.mode,
    )


def _floor(settings: Settings) -> Floor:
    if settings.sandbox.unsafe:
        return UNSAFE_FLOOR
    wanted = (frozenset(map(_layer, text.split("|"))) for text in settings.sandbox.floor)
    return (*DEFAULT_FLOOR, *wanted)


def _layer(name: str) -> Layer:
    try:
        return Layer(name.strip())
    except ValueError:
        raise ConfigError(
            f"sandbox.floor names {name!r}, which is no layer of isolation; choose among "
            f"{', '.join(Layer)}"
        ) from None


def make_limits(settings: Settings) -> Limits:
    """Return the limits of one encode or decode."""
    sandbox = settings.sandbox
    return Limits(
        wall_seconds=sandbox.wall_seconds,
        cpu_seconds=sandbox.cpu_seconds,
        memory_bytes=bytes_of_mib(sandbox.memory_mib),
        output_bytes=bytes_of_mib(sandbox.output_mib),
        processes=sandbox.processes,
        scratch_bytes=bytes_of_mib(sandbox.scratch_mib),
        scratch_inodes=sandbox.scratch_inodes,
    )


def wants_vmaf(settings: Settings, *, evaluating: bool = False) -> bool:
    """Whether VMAF is computed, in a run or (``evaluating``) by ``evocodec eval``."""
    return settings.evaluation.vmaf in (("eval", "always") if evaluating else ("always",))


def require_vmaf(settings: Settings, *, evaluating: bool = False) -> None:
    """Check that VMAF can be computed here if it is wanted.

    Raises:
        InfrastructureFailure: this machine's ffmpeg cannot.
    """
    if wants_vmaf(settings, evaluating=evaluating):
        require_libvmaf()


def engine_options(
    settings: Settings, *, dashboard: bool = True, evaluating: bool = False
) -> EngineOptions:
    """Return how tasks are placed, limited and retried, in a run or by ``evocodec eval``.

    Raises:
        InfrastructureFailure: a run wants VMAF and this machine's ffmpeg cannot compute it.
    """
    if not evaluating:  # eval asks itself, while the engine starts
        require_vmaf(settings)
    ray = settings.ray
    return EngineOptions(
        limits=make_limits(settings),
        policy=make_policy(settings),
        writer_id=WRITER_ID,
        address=ray.address,
        cpus_per_task=ray.cpus_per_task,
        gpus_per_task=ray.gpus_per_task,
        sandboxes_per_task=ray.sandboxes_per_task,
        most_slots=settings.run.slots,
        first_worker_seconds=ray.first_worker_seconds,
        head_seconds=ray.head_seconds,
        local_cpus=os.cpu_count(),
        retries=ray.retries,
        grace_seconds=ray.grace_seconds,
        object_store_bytes=bytes_of_mib(ray.object_store_mib),
        cache_bytes=bytes_of_mib(settings.data.cache_mib),
        dashboard=dashboard,
        vmaf=wants_vmaf(settings, evaluating=evaluating),
    )


def require_floor(isolation: IsolationReport, settings: Settings) -> None:
    """Refuse to run candidates behind less than the isolation floor.

    Raises:
        UserError: a layer of the floor is missing and ``sandbox.unsafe`` is off.
    """
    missing = isolation.missing_for(make_policy(settings).required)
    if missing:
        message = (
            f"the sandbox cannot give what a run needs here: {', '.join(missing)} missing. "
            "Candidates would be able to do harm. See `evocodec doctor`; "
            "--unsafe runs anyway and is written into every record"
        )
        raise UserError(message)


@contextmanager
def local_launcher(settings: Settings) -> Iterator[Launcher]:
    """A sandbox in this process' care, for encode and decode without an engine."""
    launcher = make_launcher(make_policy(settings))
    try:
        require_floor(launcher.describe(), settings)
        yield launcher
    finally:
        launcher.close()
