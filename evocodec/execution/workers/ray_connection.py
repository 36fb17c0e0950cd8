"""Ray sessions: start a cluster on this machine, or join an existing one.

Ray 2.60 resolves 127.0.0.1 to an outside address and then listens on all interfaces; a local
cluster of ours must not. It also prints cluster messages to stdout, where they would break
``--json``. And it sends the command line to its head, which fails for a name that is no UTF-8,
and would show a key that was typed there. All need a name inside Ray; where a later Ray has lost
it, the check of the address after the start still holds.
"""

import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray._private.utils as ray_utils
import ray._private.worker as ray_worker
from ray._private import ray_constants

from evocodec.domain.errors import ConfigError, InfrastructureFailure
from evocodec.execution.contract import EngineOptions

_logger = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_LOOPBACKS = ("127.", "localhost", "[::1]")
# /tmp and not TMPDIR, which may be too long for the sockets below it.
_TEMP_ROOT = Path("/tmp")  # noqa: S108 - the folder made in it is private and checked


@dataclass(frozen=True, slots=True)
class RaySession:
    """A cluster that this process is connected to."""

    address: str
    dashboard_url: str
    folder: Path | None  # of a cluster of our own: its logs and sockets
    restore: Mapping[str, str | None]

    @property
    def own(self) -> bool:
        """Whether the cluster was started here and ends here."""
        return self.folder is not None

    def close(self, *, keep_logs: bool) -> None:
        """Disconnect; a cluster of our own stops with all its processes."""
        ray.shutdown()
        if self.folder is not None and not keep_logs:
            # Ray never removes what a session leaves, several megabytes each.
            shutil.rmtree(self.folder, ignore_errors=True)
        ray_worker.print_to_stdstream = _ray_print
        _set_environment(self.restore)


def open_session(options: EngineOptions) -> RaySession:
    """Start a local cluster, or join ``options.address``.

    Raises:
        ConfigError: an address that is not ``host:port``.
        InfrastructureFailure: Ray is in use already, did not start, or did not answer.
    """
    if ray.is_initialized():
        message = "this process is connected to a Ray cluster already; one engine at a time"
        raise InfrastructureFailure(message)
    arguments: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "namespace": "evocodec",
    }
    arguments |= _join(options) if options.address else _start_local(options)
    restore = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED")}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray_worker.print_to_stdstream = _log_cluster_message
    ray_utils.get_entrypoint_name = _entrypoint
    try:
        with _loopback_stays_loopback(local=not options.address or _is_loopback(options.address)):
            context = _init(arguments, again=not options.address)
    except Exception as error:
        ray_worker.print_to_stdstream = _ray_print
        _set_environment(restore)
        raise InfrastructureFailure(_explain(options, error)) from error
    address = context.address_info["gcs_address"]
    folder = None if options.address else Path(context.address_info["session_dir"])
    session = RaySession(address, context.dashboard_url or "", folder, restore)
    if session.own and not _is_loopback(address):
        session.close(keep_logs=False)
        message = f"Ray listens on {address} instead of {_LOOPBACK}; refusing to go on"
        raise InfrastructureFailure(message)
    return session


def _entrypoint() -> str:
    return "evocodec"


def _init(arguments: Mapping[str, Any], *, again: bool) -> Any:
    """Start or join Ray; on a busy machine a start may take longer than Ray waits: once more."""
    try:
        return ray.init(**arguments)
    except Exception as error:
        if not again:
            raise
        _logger.warning("Ray did not start, and is started once more: %s", error)
        ray.shutdown()
        return ray.init(**arguments)


def _start_local(options: EngineOptions) -> dict[str, Any]:
    return {
        "address": "local",  # never a cluster that happens to run on this machine
        "_node_ip_address": _LOOPBACK,
        "num_cpus": options.local_cpus,
        "object_store_memory": options.object_store_bytes,
        "include_dashboard": options.dashboard,
        "dashboard_host": _LOOPBACK,
        "_temp_dir": str(options.temp_dir or _private_temp_dir()),
    }


def _join(options: EngineOptions) -> dict[str, Any]:
    check_address(options.address)
    node = {"_temp_dir": str(options.temp_dir)} if options.temp_dir else {}
    return {"address": options.address, **node}


def check_address(address: str) -> None:
    """Raise ``ConfigError`` unless the text is an address of a GCS."""
    host, colon, port = address.rpartition(":")
    if address != "auto" and ("//" in address or not (host and colon and port.isdigit())):
        message = (
            f"the Ray address {address!r} is not host:port; give the address of the cluster's GCS, "
            "such as raycluster-head:6379, or leave it empty to start Ray on this machine"
        )
        raise ConfigError(message)


def _private_temp_dir() -> Path:
    root = _TEMP_ROOT if _TEMP_ROOT.is_dir() else Path(tempfile.gettempdir())
    folder = root / f"evocodec-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        message = f"{folder} belongs to another user, or other users can enter it; remove it"
        raise InfrastructureFailure(message)
    return folder / "ray"  # which Ray opens to everybody; the folder above is the door


@contextmanager
def _loopback_stays_loopback(*, local: bool) -> Iterator[None]:
    """Keep Ray from turning 127.0.0.1 into an outside address, as it does on macOS by itself."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not local
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _is_loopback(address: str) -> bool:
    return address.startswith(_LOOPBACKS)


_ray_print = ray_worker.print_to_stdstream


def _log_cluster_message(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    """Stand in for the function with which Ray prints what cluster processes report."""
    del ignore_prefix
    for line in data.get("lines", ()):
        _logger.warning("ray (%s): %s", data.get("pid", "?"), line)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _explain(options: EngineOptions, error: Exception) -> str:
    if options.address:
        return (
            f"cannot join the Ray cluster at {options.address}: {error}. Check that it runs, that "
            "its Ray and Python versions are ours, and that RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH holds its token"
        )
    return f"cannot start Ray on this machine: {error}"
