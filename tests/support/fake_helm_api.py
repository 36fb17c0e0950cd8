"""As much of an API server as Helm needs to install, upgrade, roll back and remove a release.

It keeps objects and refuses what a real one refuses to change. It checks no schema, and applies an
object by replacing it: whose field is whose, it does not know.
"""

import base64
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Object = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KINDS = {
    "v1": "ConfigMap Secret Service ServiceAccount PersistentVolumeClaim Pod",
    "apps/v1": "StatefulSet Deployment",
    "rbac.authorization.k8s.io/v1": "Role RoleBinding",
    "networking.k8s.io/v1": "NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
    "scheduling.k8s.io/v1": "PriorityClass",
    "ray.io/v1": "RayCluster",
    "monitoring.coreos.com/v1": "ServiceMonitor PodMonitor PrometheusRule",
}
WITHOUT_NAMESPACE = {"PriorityClass"}
_PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)"
    r"(?:/namespaces/(?P<space>[^/]+))?(?:/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?)?$"
)


def plural(kind: str) -> str:
    return re.sub(r"ys$", "ies", re.sub(r"ss$", "sse", kind.lower()) + "s")


class RefusedError(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
        }


class ReleaseServer(ThreadingHTTPServer):
    """The objects by (plural, name), in one namespace."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[tuple[str, str], Object] = {}
        self.lock = threading.Lock()

    def get(self, kind: str, name: str) -> Object | None:
        with self.lock:
            return self.objects.get((plural(kind), name))

    def kinds(self) -> set[str]:
        with self.lock:
            return {each["kind"] for each in self.objects.values()}

    def write_kubeconfig(self, path: Path) -> Path:
        url = f"http://127.0.0.1:{self.server_port}"
        cluster = {"name": "c", "cluster": {"server": url}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "evo"}}
        user = {"name": "u", "user": {"token": "t"}}
        whole: Object = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
        whole |= {"clusters": [cluster], "contexts": [context], "users": [user]}
        path.write_text(json.dumps(whole))
        path.chmod(0o600)
        return path


def refuse_what_cannot_change(old: Object, new: Object) -> None:
    fixed = {"StatefulSet": ("selector", "serviceName"), "Deployment": ("selector",)}
    spec, wanted = old.get("spec", {}), new.get("spec", {})
    changed = [name for name in fixed.get(old["kind"], ()) if spec.get(name) != wanted.get(name)]
    if old["kind"] == "PersistentVolumeClaim":
        changed += [
            each
            for each in ("accessModes", "storageClassName")
            if spec.get(each) != wanted.get(each)
        ]
        sizes = [
            int(each["resources"]["requests"]["storage"].removesuffix("Gi"))
            for each in (spec, wanted)
        ]
        changed += ["resources"] if sizes[1] < sizes[0] else []
    if old["kind"] == "RoleBinding" and old["roleRef"] != new["roleRef"]:
        changed.append("roleRef")
    if changed:
        name = f"{old['kind']} {old['metadata']['name']}"
        raise RefusedError(422, "Invalid", f"{name}: {', '.join(changed)}: field is immutable")


def read(content: bytes) -> Any:
    """Read a body: YAML or JSON, or, for the secrets that Helm keeps its releases in, protobuf."""
    if not content.startswith(b"k8s\0"):
        return yaml.load(content, Loader=_LOADER) if content else None
    whole = dict(_fields(content[4:]))
    secret = list(_fields(whole[2]))
    metadata = list(_fields(dict(secret)[1]))
    labels = [dict(_fields(value)) for number, value in metadata if number == 11]
    data = [dict(_fields(value)) for number, value in secret if number == 2]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": dict(metadata)[1].decode(),
            "labels": {each[1].decode(): each[2].decode() for each in labels},
        },
        "type": dict(secret)[3].decode(),
        "data": {each[1].decode(): base64.b64encode(each[2]).decode() for each in data},
    }


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield numbers and values of a message's fields, which are integers or bytes."""
    at = 0

    def integer() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(content):
        key = integer()
        value: int | bytes = integer()
        if key & 7 == 2:
            size = int(value)
            value = content[at : at + size]
            at += size
        yield key >> 3, value


class Handler(BaseHTTPRequestHandler):
    server: ReleaseServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        body = None if self.command == "DELETE" else read(content)
        try:
            with self.server.lock:
                code, answer = self._answer(body)
        except RefusedError as refused:
            code, answer = refused.code, refused.status
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 - http.server's names

    def _answer(self, body: Any) -> tuple[int, Object]:
        url = urlsplit(self.path)
        if url.path == "/version":
            return 200, {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
        if url.path == "/api":
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if url.path == "/apis":
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups()}
        found = _PATH.match(url.path)
        if not found:
            raise RefusedError(404, "NotFound", f"{url.path} not found")
        kind, name = found["plural"], found["name"]
        if kind is None:
            return 200, _resources("/".join(filter(None, (found["group"], found["version"]))))
        if self.command == "POST":
            return 201, self._put(kind, body["metadata"]["name"], body, new=True)
        if name is None:
            selector = parse_qs(url.query).get("labelSelector", [""])[0]
            items = self._list(kind, selector)
            return 200, {"kind": "SecretList", "apiVersion": "v1", "items": items}
        if self.command == "PATCH" and (kind, name) not in self.server.objects:
            return 201, self._put(kind, name, body, new=True)
        if (kind, name) not in self.server.objects:
            raise RefusedError(404, "NotFound", f'{kind} "{name}" not found')
        if self.command == "DELETE":
            return 200, self.server.objects.pop((kind, name))
        if self.command in {"PUT", "PATCH"}:
            return 200, self._put(kind, name, body, new=False)
        return 200, self.server.objects[kind, name]

    def _put(self, kind: str, name: str, body: Object, *, new: bool) -> Object:
        old = self.server.objects.get((kind, name))
        if new and old is not None:
            raise RefusedError(409, "AlreadyExists", f'{kind} "{name}" already exists')
        if old is not None:
            refuse_what_cannot_change(old, body)
        kept = {"uid": old["metadata"]["uid"] if old else str(uuid.uuid4())}
        body["metadata"] |= kept | {"resourceVersion": uuid.uuid4().hex, "namespace": "evo"}
        self.server.objects[kind, name] = body
        return body

    def _list(self, kind: str, selector: str) -> list[Object]:
        wanted = dict(each.split("=", 1) for each in selector.split(",") if "=" in each)
        return [
            each
            for (found, _), each in self.server.objects.items()
            if found == kind and wanted.items() <= each["metadata"].get("labels", {}).items()
        ]


def _groups() -> list[Object]:
    found = []
    for each in KINDS:
        name, _, version = each.rpartition("/")
        if name:
            both = {"groupVersion": each, "version": version}
            found.append({"name": name, "versions": [both], "preferredVersion": both})
    return found


def _resources(group_version: str) -> Object:
    verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
    resources = [
        {
            "name": plural(kind),
            "singularName": kind.lower(),
            "namespaced": kind not in WITHOUT_NAMESPACE,
            "kind": kind,
            "verbs": verbs,
        }
        for kind in KINDS.get(group_version, "").split()
    ]
    whole = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version}
    return whole | {"resources": resources}


@contextmanager
def release_server() -> Iterator[ReleaseServer]:
    server = ReleaseServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
