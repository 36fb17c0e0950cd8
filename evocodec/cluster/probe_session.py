"""Probe session: creates probe objects, waits for them, and always deletes them."""

import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final

from evocodec.cluster.api import ApiRefusal, ClusterApi, Json
from evocodec.cluster.probe_pods import MANAGED_BY, ProbeOptions, Role, name_of, pod, policies
from evocodec.domain.errors import InfrastructureFailure

STALE_AFTER: Final = timedelta(hours=1)
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_NO_IMAGE: Final = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_NO_START: Final = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
_log = logging.getLogger(__name__)


class ProbeFailure(InfrastructureFailure):
    """A probe gave no result; ``image`` is True when the image is the cause."""

    def __init__(self, message: str, *, image: bool = False) -> None:
        super().__init__(message)
        self.image = image


class ProbeSession:
    """Pods and policies in one namespace, deleted when the ``with`` block ends.

    ``left_over`` names objects that could not be deleted.
    """

    def __init__(
        self, api: ClusterApi, namespace: str, probe_id: str, options: ProbeOptions
    ) -> None:
        self._api = api
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._policies = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
        self._events = f"/api/v1/namespaces/{namespace}/events"
        self._id = probe_id
        self._options = options
        self._created: list[str] = []
        self._deadline = time.monotonic() + options.timeout_seconds
        self.left_over: list[str] = []

    def __enter__(self) -> "ProbeSession":
        self._delete_stale()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _signals_ignored():
            for path in reversed(self._created):
                self._delete(path)

    def make_policies(self) -> None:
        """Create the network policies; before the pods, so that no pod runs without them."""
        for body in policies(self._id):
            self._create(self._policies, body)

    def start(self, role: Role, *, target: str = "") -> None:
        """Create a pod."""
        self._create(self._pods, pod(self._id, role, self._options, target=target))

    def address(self, role: Role) -> str:
        """Return a pod's address once it runs."""
        while True:
            found = self._read_pod(role)
            status = found.get("status") or {}
            if status.get("phase") == "Running" and status.get("podIP"):
                return str(status["podIP"])
            if status.get("phase") in {"Failed", "Succeeded"}:
                raise ProbeFailure(f"the {role} pod ended at once: {_describe(found)}")
            self._wait(role, found)

    def result(self, role: Role) -> Json:
        """Return the result of a pod, once it has ended."""
        while True:
            found = self._read_pod(role)
            phase = (found.get("status") or {}).get("phase")
            if phase == "Succeeded":
                return _parse_result(_message(found), role)
            if phase == "Failed":
                raise ProbeFailure(f"the {role} pod failed: {_describe(found)}")
            self._wait(role, found)

    def _read_pod(self, role: Role) -> Json:
        try:
            found = self._api.get(f"{self._pods}/{name_of(self._id, role)}")
        except ApiRefusal as refusal:
            if refusal.status != 404:
                raise
            raise ProbeFailure(
                f"the {role} pod was deleted: by an eviction, a lost node or a policy engine"
            ) from refusal
        for state in _container_states(found):
            waiting = state.get("waiting") or {}
            reason = waiting.get("reason")
            if reason in _NO_IMAGE:
                raise ProbeFailure(
                    f"{self._options.image}: {reason}: {waiting.get('message') or ''}", image=True
                )
            if reason in _NO_START:
                raise ProbeFailure(
                    f"the {role} pod cannot start: {reason}: {waiting.get('message') or ''}"
                )
        return found

    def _wait(self, role: Role, found: Json) -> None:
        if time.monotonic() > self._deadline:
            seconds = self._options.timeout_seconds
            raise ProbeFailure(
                f"the {role} pod was not done after {seconds:.0f} s: {_describe(found)}"
                f"{self._last_event(role)}"
            )
        time.sleep(self._options.poll_seconds)

    def _last_event(self, role: Role) -> str:
        """Return the node's last error message; it is only in events, which may be forbidden."""
        query = {"fieldSelector": f"involvedObject.name={name_of(self._id, role)}"}
        try:
            events = self._api.items(self._events, query)
        except ApiRefusal:
            return ""
        messages = [
            str(event.get("message") or "") for event in events if event.get("type") != "Normal"
        ]
        return f"; {messages[-1]}" if messages else ""

    def _create(self, path: str, body: Json) -> None:
        # Noted before it is asked for: an interrupt may come between the two.
        self._created.append(f"{path}/{body['metadata']['name']}")
        self._api.create(path, body)

    def _delete(self, path: str) -> None:
        try:
            self._api.delete(path)
        except InfrastructureFailure as error:
            _log.warning("cannot delete %s: %s", path, error)
            plural, name = path.split("/")[-2:]
            self.left_over.append(f"{plural}/{name}")

    def _delete_stale(self) -> None:
        """Delete what an earlier, killed check left behind."""
        query = {"labelSelector": f"app.kubernetes.io/managed-by={MANAGED_BY}"}
        for path in (self._pods, self._policies):
            try:
                found = self._api.items(path, query)
            except ApiRefusal as refusal:
                _log.warning("cannot look for old probes: %s", refusal)
                continue
            for item in found:
                # Labels are read again: what is not ours must not go, whatever a server lists.
                if _is_ours(item) and _is_stale(item):
                    self._delete(f"{path}/{item['metadata']['name']}")


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM for the few seconds that cleaning up takes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _is_ours(item: Json) -> bool:
    labels = (item.get("metadata") or {}).get("labels") or {}
    return bool(labels.get("app.kubernetes.io/managed-by") == MANAGED_BY)


def _is_stale(item: Json) -> bool:
    try:
        made = datetime.fromisoformat(str(item["metadata"]["creationTimestamp"]))
    except (KeyError, ValueError):
        return False
    made = made if made.tzinfo else made.replace(tzinfo=UTC)
    return datetime.now(UTC) - made > STALE_AFTER


def _container_states(found: Json) -> list[Json]:
    statuses = (found.get("status") or {}).get("containerStatuses") or []
    return [status.get("state") or {} for status in statuses]


def _message(found: Json) -> str:
    messages = [
        str((s.get("terminated") or {}).get("message") or "") for s in _container_states(found)
    ]
    return "".join(messages)


def _describe(found: Json) -> str:
    """Return the cluster's explanation of a pod that does not run as it should."""
    status = found.get("status") or {}
    for state in _container_states(found):
        ended = state.get("terminated") or {}
        if ended:
            message = str(ended.get("message") or "")[-600:]
            return f"{ended.get('reason')}, exit code {ended.get('exitCode')}: {message}"
        if state.get("waiting"):
            return str(state["waiting"].get("reason"))
    for condition in status.get("conditions") or []:
        if condition.get("status") == "False" and condition.get("message"):
            return f"{condition.get('reason')}: {condition['message']}"
    return str(status.get("message") or status.get("reason") or status.get("phase") or "no status")


def _parse_result(text: str, role: Role) -> Json:
    try:
        result = json.loads(text)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        raise ProbeFailure(f"the {role} pod ended without an answer: {text[:200]!r}")
    return result
