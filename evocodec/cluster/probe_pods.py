"""Probe pods and their network policies: restricted profile, no token, a deadline of their own."""

from dataclasses import dataclass
from typing import Final, Literal

from evocodec.cluster.api import Json
from evocodec.cluster.facts import GPU
from evocodec.cluster.probe_scripts import FLOOR, LISTEN, PORT, PYTHON, REACH

Role = Literal["server", "open", "denied", "floor"]
MANAGED_BY: Final = "evocodec-cluster-check"
ID_LABEL: Final = "evocodec/probe"
ROLE_LABEL: Final = "evocodec/probe-role"
USER: Final = 65532
NAMES: Final = ("kubernetes.default.svc.cluster.local", "kubernetes.default.svc")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """Settings of the probes: image, nodes and time limit."""

    image: str
    pull_secret: str = ""
    runtime_class: str = ""
    gpus: int = 0
    node_labels: tuple[tuple[str, str], ...] = ()
    timeout_seconds: float = 300.0
    settle_seconds: float = 15.0
    poll_seconds: float = 1.0


def name_of(probe_id: str, role: str) -> str:
    """Return the name of a probe's object."""
    return f"evocodec-check-{probe_id}-{role}"


def pod(probe_id: str, role: Role, options: ProbeOptions, *, target: str = "") -> Json:
    """Return one probe pod; ``target`` is the address that clients try."""
    spec: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        # The pod ends even if no process is left to delete it.
        "activeDeadlineSeconds": int(options.timeout_seconds) + 60,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(role, options, target)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
        ],
    }
    if options.pull_secret:
        spec["imagePullSecrets"] = [{"name": options.pull_secret}]
    if role == "floor":
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
        if options.node_labels:
            spec["nodeSelector"] = dict(options.node_labels)
        if options.runtime_class:
            spec["runtimeClassName"] = options.runtime_class
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name_of(probe_id, role), "labels": _labels(probe_id, role)},
        "spec": spec,
    }


def _container(role: Role, options: ProbeOptions, target: str) -> Json:
    script = {"server": LISTEN, "floor": FLOOR}.get(role, REACH)
    environment = {
        "HOME": "/tmp",  # noqa: S108 - a volume of the pod
        "TARGET": target,
        "PORT": str(PORT),
        "WANTED": "reach" if role == "open" else "refusal",
        "SETTLE": str(options.settle_seconds),
        "NAMES": " ".join(NAMES),
    }
    return {
        "name": "probe",
        "image": options.image,
        "imagePullPolicy": "IfNotPresent",
        "command": [PYTHON, "-c", script],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "workingDir": "/tmp",  # noqa: S108 - a volume of the pod
        "resources": _resources(role, options.gpus),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - a volume of the pod
        ],
    }


def _resources(role: Role, gpus: int) -> Json:
    if role != "floor":
        amounts = {"cpu": "100m", "memory": "128Mi"}
        return {"requests": amounts, "limits": amounts}
    amounts = {"cpu": "1", "memory": "4Gi"}
    if gpus:
        amounts[GPU] = str(gpus)
    return {"requests": amounts, "limits": amounts}


def policies(probe_id: str) -> list[Json]:
    """Return the network policies: who may connect where. DNS is allowed as in the chart."""
    to_server: Json = {
        "to": [{"podSelector": {"matchLabels": _selector(probe_id, "server")}}],
        "ports": [{"protocol": "TCP", "port": PORT}],
    }
    dns: Json = {
        "to": [
            {
                "namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": "kube-system"}
                },
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
    }
    from_probes: Json = {
        "from": [{"podSelector": {"matchLabels": {ID_LABEL: probe_id}}}],
        "ports": [{"protocol": "TCP", "port": PORT}],
    }
    return [
        # It lets the denied pod in, so that only that one's own egress rule can stop it.
        _policy(probe_id, "server", ingress=[from_probes], egress=[]),
        _policy(probe_id, "open", ingress=[], egress=[to_server, dns]),
        _policy(probe_id, "denied", ingress=[], egress=[]),
        _policy(probe_id, "floor", ingress=[], egress=[]),
    ]


def _policy(probe_id: str, role: Role, *, ingress: list[Json], egress: list[Json]) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name_of(probe_id, role), "labels": _labels(probe_id, role)},
        "spec": {
            "podSelector": {"matchLabels": _selector(probe_id, role)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def _selector(probe_id: str, role: Role) -> dict[str, str]:
    return {ID_LABEL: probe_id, ROLE_LABEL: role}


def _labels(probe_id: str, role: Role) -> dict[str, str]:
    return {"app.kubernetes.io/managed-by": MANAGED_BY, **_selector(probe_id, role)}
