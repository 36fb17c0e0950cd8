"""A Kubernetes API server on loopback, with the few behaviours of a cluster that probes see.

kmock keeps the objects; this adds what it has no notion of: access reviews, refusals, and a kubelet
that moves pods through their phases.
"""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp.web
import kmock

Json = dict[str, Any]
NAMESPACE = "codecs"
POD = kmock.resource("v1/pods")
REVIEWS = "selfsubjectaccessreviews"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass
class Behaviour:
    """How this cluster differs from a healthy one. Read at every request, so it may change."""

    version: tuple[str, str] = ("1", "33")
    labels: dict[str, str] | None = field(default_factory=lambda: dict(RESTRICTED))
    denied: set[tuple[str, str]] = field(default_factory=set)  # (verb, plural) of access reviews
    refused: dict[tuple[str, str], tuple[int, str, str]] = field(default_factory=dict)
    answers: dict[str, Json] = field(default_factory=dict)  # role -> what its pod reports
    stuck: dict[str, Json] = field(default_factory=dict)  # role -> a status that never changes
    absent: set[str] = field(default_factory=set)  # "group/version" that is not served
    page: int | None = None  # at most so many items in one answer
    everything: tuple[int, str] | None = None  # every request is answered so


HEALTHY: dict[str, Json] = {
    "open": {
        "target": True,
        "seconds": 0.1,
        "names": {"kubernetes.default.svc.cluster.local": True, "kubernetes.default.svc": True},
    },
    "denied": {"target": False, "seconds": 0.1, "api": False, "metadata": False},
    "floor": {
        "floor": "ok",
        "detail": "landlock 7, seccomp on, rlimits on",
        "attacks": 194,
        "held": 190,
        "ok": True,
        "bad": [],
        "gpus": 0,
    },
}
DISCOVERY = {
    "ray.io/v1": ["rayclusters"],
    "monitoring.coreos.com/v1": ["servicemonitors", "podmonitors", "prometheusrules"],
}


class Server(kmock.KubernetesEmulator):  # type: ignore[misc, unused-ignore]
    """The emulator, with behaviours."""

    behaviour: Behaviour

    async def _handle(self, request: Any) -> aiohttp.web.StreamResponse:
        behaviour = self.behaviour
        path, method = request.url.path, request.method.value
        if behaviour.everything is not None:
            status, text = behaviour.everything
            return aiohttp.web.Response(status=status, text=text, content_type="application/json")
        resource = request.resource
        plural = resource.plural if resource is not None else ""
        if (method, plural) in behaviour.refused:
            return failure(*behaviour.refused[method, plural])
        if path == "/version":
            major, minor = behaviour.version
            return aiohttp.web.json_response(
                {"major": major, "minor": minor, "gitVersion": f"v{major}.{minor}.1"}
            )
        if path == f"/api/v1/namespaces/{NAMESPACE}":
            if behaviour.labels is None:
                return failure(404, "NotFound", f'namespaces "{NAMESPACE}" not found')
            metadata = {"name": NAMESPACE, "labels": behaviour.labels}
            return aiohttp.web.json_response({"metadata": metadata})
        if plural == REVIEWS:
            asked = request.data["spec"]["resourceAttributes"]
            allowed = (asked["verb"], asked["resource"]) not in behaviour.denied
            return aiohttp.web.json_response({"status": {"allowed": allowed}})
        group = path.removeprefix("/apis/")
        if group in DISCOVERY and group not in behaviour.absent:
            names = [{"name": name} for name in DISCOVERY[group]]
            return aiohttp.web.json_response({"resources": names})
        response = await super()._handle(request)
        if behaviour.page is not None and plural == "nodes":
            return one_page(response, request.params.get("continue"), behaviour.page)
        if method == "POST" and plural == "pods" and response.status < 400:
            self._run(request.data)
        return response

    def _run(self, pod: Json) -> None:
        """Be the kubelet: give a new pod the status in which it ends."""
        role = pod["metadata"]["labels"]["evocodec/probe-role"]
        if role in self.behaviour.stuck:
            status = self.behaviour.stuck[role]
        elif role == "server":
            status = {"phase": "Running", "podIP": "10.1.2.3"}
        else:
            answer = self.behaviour.answers.get(role, HEALTHY[role])
            ended = {"exitCode": 0, "reason": "Completed", "message": json.dumps(answer)}
            status = {
                "phase": "Succeeded",
                "containerStatuses": [{"state": {"terminated": ended}}],
            }
        name = pod["metadata"]["name"]
        self.objects[POD, NAMESPACE, name].patch({"status": status})


def failure(status: int, reason: str, message: str) -> aiohttp.web.Response:
    return aiohttp.web.json_response(
        {
            "kind": "Status",
            "status": "Failure",
            "code": status,
            "reason": reason,
            "message": message,
        },
        status=status,
    )


def one_page(
    response: aiohttp.web.StreamResponse, token: str | None, size: int
) -> aiohttp.web.Response:
    assert isinstance(response, aiohttp.web.Response)
    items = json.loads(response.text or "{}")["items"]
    begin = int(token or 0)
    more = str(begin + size) if begin + size < len(items) else ""
    body = {"metadata": {"continue": more}, "items": items[begin : begin + size]}
    return aiohttp.web.json_response(body)


class FakeCluster:
    """A running server, and the kubeconfig that leads to it."""

    def __init__(self, server: Server, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.url = url
        self._loop = loop

    @property
    def behaviour(self) -> Behaviour:
        return self.server.behaviour

    def put(self, resource: str, name: str, body: Json, *, namespace: str | None = None) -> None:
        """Keep an object, as if it had been there before."""
        metadata = {"name": name, **body.pop("metadata", {})}
        if namespace is not None:
            metadata["namespace"] = namespace
        key = (kmock.resource(resource), namespace, name)
        self._do(lambda: self.server.objects.__setitem__(key, {"metadata": metadata, **body}))

    def answer(self, role: str, change: Json) -> None:
        """Let the pod of this role report something else than in a healthy cluster."""
        self.behaviour.answers[role] = {**HEALTHY[role], **change}

    def authorizations(self) -> set[str]:
        """Every Authorization header that was sent."""
        return self._do(lambda: {r.headers.get("Authorization", "") for r in self.server})

    def reset(self) -> None:
        """Forget objects, requests and behaviours."""

        def forget() -> None:
            self.server.objects.clear()
            self.server._requests.clear()
            self.server.behaviour = Behaviour()

        self._do(forget)

    def names(self, resource: str) -> list[str]:
        """Names of the objects that are there now."""
        wanted = kmock.resource(resource)
        return self._do(
            lambda: [
                name
                for (kind, _namespace, name), item in self.server.objects.items()
                if kind == wanted and not item.deleted
            ]
        )

    def posted(self, plural: str) -> list[Json]:
        """Bodies of everything that was created."""
        return self._do(
            lambda: [
                request.data
                for request in self.server
                if request.method.value == "POST"
                and request.resource is not None
                and request.resource.plural == plural
            ]
        )

    def write_kubeconfig(self, path: Path) -> Path:
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "c", "cluster": {"server": self.url}}],
                    "users": [{"name": "u", "user": {"token": "secret-token"}}],
                    "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
                }
            )
        )
        os.chmod(path, 0o600)
        return path

    def _do(self, work: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)


@contextmanager
def fake_cluster() -> Iterator[FakeCluster]:
    """Serve a healthy cluster from a thread of its own."""
    ready: list[FakeCluster] = []
    problem: list[BaseException] = []
    began, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        server = Server()
        server.behaviour = Behaviour()
        async with server, kmock.Server(server) as listening:
            url = str(listening.url).rstrip("/")
            ready.append(FakeCluster(server, url, asyncio.get_running_loop()))
            began.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:  # noqa: BLE001 - raised again in the test's thread
            problem.append(error)
            began.set()

    thread = threading.Thread(target=run, name="fake cluster")
    thread.start()
    assert began.wait(30)
    if problem:
        raise problem[0]
    cluster = ready[0]
    make_healthy(cluster)
    try:
        yield cluster
    finally:
        cluster._loop.call_soon_threadsafe(stop.set)
        thread.join(30)


def make_healthy(cluster: FakeCluster) -> None:
    cluster.put("v1/nodes", "worker-1", node(gpus=4))
    cluster.put("v1/nodes", "worker-2", node(gpus=4))
    cluster.put(
        "storage.k8s.io/v1/storageclasses",
        "fast",
        {
            "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "csi.example.com",
            "allowVolumeExpansion": True,
        },
    )
    cluster.put("node.k8s.io/v1/runtimeclasses", "gvisor", {"handler": "runsc"})
    scaler: Json = {"properties": {"command": {}}}
    fields = {"authOptions": {}, "autoscalerOptions": scaler, "upgradeStrategy": {}}
    schema = {"openAPIV3Schema": {"properties": {"spec": {"properties": fields}}}}
    cluster.put(
        "apiextensions.k8s.io/v1/customresourcedefinitions",
        "rayclusters.ray.io",
        {"spec": {"versions": [{"name": "v1", "schema": schema}]}},
    )
    for resource in ("v1/resourcequotas", "v1/limitranges", "v1/pods", "v1/events"):
        cluster.server.resources[resource] = kmock.ResourceInfo()
    cluster.server.resources["networking.k8s.io/v1/networkpolicies"] = kmock.ResourceInfo()


def node(*, gpus: int, kernel: str = "6.8.0-1021-gke", ready: str = "True", **labels: str) -> Json:
    return {
        "metadata": {
            "labels": {
                "nvidia.com/gpu.product": "NVIDIA-L4",
                "nvidia.com/cuda.driver-version.full": "580.82.07",
                **labels,
            }
        },
        "status": {
            "allocatable": {"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": str(gpus)},
            "conditions": [{"type": "Ready", "status": ready}],
            "nodeInfo": {"kernelVersion": kernel, "architecture": "amd64"},
        },
    }
