"""Read-only checks of a cluster: versions, kinds, nodes, classes, limits."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from evocodec.cluster.api import ApiRefusal, ClusterApi, Json
from evocodec.cluster.quantities import quantity
from evocodec.domain.check import Check

GPU: Final = "nvidia.com/gpu"
OLDEST_SERVER: Final = (1, 29)  # sidecar containers, which the controller's Ray node is
OLDEST_LANDLOCK: Final = (5, 13)
# Without the first Ray would run without a token, without the second lack its autoscaler, and
# without the third keep its pods when the chart is upgraded.
RAY_FIELDS: Final = (("authOptions",), ("autoscalerOptions", "command"), ("upgradeStrategy",))

# Any version of Kueue will do: the chart makes nothing of it, and only names a queue.
OPTIONAL_KINDS: Final = (
    (("external-secrets.io/v1",), "externalsecrets", "externalSecret.enabled"),
    (("kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1beta1"), "localqueues", "kueue.enabled"),
    (("keda.sh/v1alpha1",), "scaledobjects", "vllm.keda.enabled"),
)


def server_version(api: ClusterApi, _namespace: str) -> Iterator[Check]:
    """Check that the server is new enough for the chart."""
    version = api.get("/version")
    git_version = str(version.get("gitVersion") or "unknown")
    numbers = (_number(version.get("major")), _number(version.get("minor")))
    oldest = ".".join(map(str, OLDEST_SERVER))
    if numbers < OLDEST_SERVER:
        yield Check(
            "version",
            "fail",
            f"{git_version}; the chart needs {oldest}",
            "upgrade the control plane",
        )
    else:
        yield Check("version", "ok", f"{git_version} (at least {oldest})")


def custom_resources(api: ClusterApi, _namespace: str) -> Iterator[Check]:
    """Check for KubeRay, and for the optional custom resources."""
    yield _kuberay(api)
    missing = [
        plural
        for plural in ("servicemonitors", "podmonitors", "prometheusrules")
        if not _serves(api, "monitoring.coreos.com/v1", plural)
    ]
    if missing:
        yield Check(
            "prometheus operator",
            "warn",
            f"no {', '.join(missing)}: nobody would scrape metrics or raise alerts",
            "install kube-prometheus-stack; until then leave metrics.serviceMonitor.enabled and "
            "metrics.prometheusRule.enabled off",
        )
    else:
        yield Check("prometheus operator", "ok", "ServiceMonitor, PodMonitor, PrometheusRule")
    there = [
        f"{plural} there"
        if any(_serves(api, group, plural) for group in groups)
        else f"{plural} absent: leave {value} off"
        for groups, plural, value in OPTIONAL_KINDS
    ]
    yield Check("optional kinds", "ok", "; ".join(there))


def _kuberay(api: ClusterApi) -> Check:
    fix = (
        "install KubeRay 1.6 or newer: helm install kuberay-operator kuberay/kuberay-operator "
        "--namespace kuberay --create-namespace"
    )
    if not _serves(api, "ray.io/v1", "rayclusters"):
        return Check("kuberay", "fail", "no RayCluster of ray.io/v1", fix)
    try:
        definition = api.get(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayclusters.ray.io"
        )
    except ApiRefusal as refusal:
        if refusal.status not in {403, 404}:
            raise
        return Check(
            "kuberay",
            "warn",
            "RayCluster of ray.io/v1; whether it knows Ray's tokens cannot be seen "
            f"({refusal.status} for its definition)",
            "have an administrator look for authOptions in `kubectl explain raycluster.spec`",
        )
    spec = _spec_schema(definition)
    unknown = [".".join(path) for path in RAY_FIELDS if not _has_field(spec, path)]
    if unknown:
        return Check(
            "kuberay",
            "fail",
            f"RayCluster knows no {', '.join(unknown)}: the API server would drop that without a "
            "word, and Ray would run without its token or its autoscaler, or never be upgraded",
            fix,
        )
    return Check("kuberay", "ok", "RayCluster of ray.io/v1, with token authentication")


def _spec_schema(definition: Json) -> Json:
    for version in (definition.get("spec") or {}).get("versions") or []:
        if version.get("name") == "v1":
            schema: Json = (version.get("schema") or {}).get("openAPIV3Schema") or {}
            return (schema.get("properties") or {}).get("spec") or {}
    return {}


def _has_field(schema: Json, path: tuple[str, ...]) -> bool:
    for name in path:
        fields = schema.get("properties") or {}
        if name not in fields:
            return False
        schema = fields[name] or {}
    return True


def nodes(api: ClusterApi, _namespace: str) -> Iterator[Check]:
    """Check the machines, and whether their kernels support the sandbox."""
    found = api.items("/api/v1/nodes")
    ready = [node for node in found if _is_ready(node)]
    kernels = Counter(str(_info(node).get("kernelVersion")) for node in ready)
    names = ", ".join(f"{kernel} on {count}" for kernel, count in sorted(kernels.items()))
    old = [kernel for kernel in kernels if _kernel(kernel) < OLDEST_LANDLOCK]
    machines = {str(_info(node).get("architecture")) for node in ready} - {"amd64"}
    detail = f"{len(ready)} of {len(found)} ready; kernel {names or 'unknown'}"
    if not ready:
        yield Check(
            "nodes",
            "warn",
            f"none of {len(found)} is ready",
            "fine only where an autoscaler starts them",
        )
    elif old:
        yield Check(
            "nodes",
            "fail",
            f"{detail}; before 5.13 there is no Landlock, which the sandbox's floor needs",
            "use node images with a newer kernel, or gVisor for workers (gvisor.enabled)",
        )
    elif machines:
        yield Check(
            "nodes",
            "warn",
            f"{detail}; some are {', '.join(sorted(machines))}, and the images are for amd64",
            "set nodeSelector kubernetes.io/arch=amd64 for controller, head and workers",
        )
    else:
        yield Check("nodes", "ok", detail)
    yield _gpus(ready)


def _gpus(ready: list[Json]) -> Check:
    counts: Counter[str] = Counter()
    idle_drivers: list[str] = []
    for node in ready:
        labels = _labels(node)
        count = int(quantity(((node.get("status") or {}).get("allocatable") or {}).get(GPU, 0)))
        driver = labels.get("nvidia.com/cuda.driver-version.full") or ".".join(
            labels[f"nvidia.com/cuda.driver.{part}"]
            for part in ("major", "minor", "rev")
            if f"nvidia.com/cuda.driver.{part}" in labels
        )
        model = (
            labels.get("nvidia.com/gpu.product")
            or labels.get("cloud.google.com/gke-accelerator")
            or "GPU"
        )
        if count:
            counts[f"{model}, {f'driver {driver}' if driver else 'driver not labelled'}"] += count
        elif "cloud.google.com/gke-accelerator" in labels or labels.get("nvidia.com/gpu.present"):
            idle_drivers.append(_name(node))
    if idle_drivers:
        return Check(
            "gpus",
            "fail",
            f"{', '.join(idle_drivers)} have GPUs that pods cannot ask for: no allocatable {GPU}",
            "install NVIDIA's GPU operator, or device plugin and driver; look at its pods' logs",
        )
    if not counts:
        return Check(
            "gpus",
            "warn",
            f"no node offers {GPU} now",
            "fine where they scale from zero (try --gpus 1), or with ray.worker.gpus=0",
        )
    return Check("gpus", "ok", "; ".join(f"{n} × {kind}" for kind, n in sorted(counts.items())))


def runtime_classes(api: ClusterApi, _namespace: str) -> Iterator[Check]:
    """List the container runtimes that a worker may use."""
    found = {
        _name(item): str(item.get("handler"))
        for item in api.items("/apis/node.k8s.io/v1/runtimeclasses")
    }
    git_version = ", ".join(f"{name} ({handler})" for name, handler in sorted(found.items()))
    gvisor = any(handler in {"runsc", "gvisor"} for handler in found.values())
    advice = "" if gvisor else "; no gVisor: leave gvisor.enabled off, or install runsc on nodes"
    yield Check("runtime classes", "ok", f"{git_version or 'only the default one'}{advice}")


def pod_security(api: ClusterApi, namespace: str) -> Iterator[Check]:
    """Check whether the namespace enforces the restricted pod security profile."""
    label = "pod-security.kubernetes.io/enforce"
    try:
        labels = _labels(api.get(f"/api/v1/namespaces/{namespace}"))
    except ApiRefusal as refusal:
        if refusal.status != 404:
            raise
        yield Check(
            "namespace",
            "fail",
            f"{namespace} does not exist",
            f"kubectl create namespace {namespace} && "
            f"kubectl label namespace {namespace} {label}=restricted",
        )
        return
    level = labels.get(label)
    if level == "restricted":
        yield Check("pod security", "ok", f"namespace {namespace} enforces restricted")
    else:
        yield Check(
            "pod security",
            "warn",
            f"namespace {namespace} enforces {level or 'nothing'}: the chart's pods keep to "
            "restricted, but nothing stops others in it",
            f"kubectl label --overwrite namespace {namespace} {label}=restricted",
        )


def storage(api: ClusterApi, _namespace: str) -> Iterator[Check]:
    """Check for a default storage class for the controller's volume."""
    mark = "storageclass.kubernetes.io/is-default-class"
    classes = api.items("/apis/storage.k8s.io/v1/storageclasses")
    names = [_name(item) for item in classes]
    default = [
        item
        for item in classes
        if ((item.get("metadata") or {}).get("annotations") or {}).get(mark) == "true"
    ]
    if not classes:
        yield Check(
            "storage",
            "fail",
            "no storage class: the controller's volume would wait for ever",
            "install a CSI driver, or set controller.persistence.existingClaim",
        )
    elif not default:
        yield Check(
            "storage",
            "fail",
            f"none of {', '.join(names)} is the default",
            f"set controller.persistence.storageClass={names[0]}",
        )
    else:
        yield _default_class(default)


def _default_class(default: list[Json]) -> Check:
    chosen = default[0]
    name = _name(chosen)
    git_version = f"{name} ({chosen.get('provisioner')}) is the default"
    if len(default) > 1:
        others = ", ".join(_name(item) for item in default)
        return Check(
            "storage",
            "warn",
            f"several defaults: {others}",
            "set controller.persistence.storageClass to the one you mean",
        )
    if not chosen.get("allowVolumeExpansion"):
        return Check(
            "storage",
            "warn",
            f"{git_version}; its volumes cannot grow",
            "set controller.persistence.size generously, or use another class",
        )
    return Check("storage", "ok", f"{git_version}; volumes can grow")


def _serves(api: ClusterApi, group_version: str, plural: str) -> bool:
    """Read the discovery documents, which every user may read, unlike the definitions."""
    try:
        found = api.get(f"/apis/{group_version}")
    except ApiRefusal as refusal:
        if refusal.status != 404:
            raise
        return False
    return any(item.get("name") == plural for item in found.get("resources") or [])


def _is_ready(node: Json) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _info(node: Json) -> Json:
    info: Json = (node.get("status") or {}).get("nodeInfo") or {}
    return info


def _labels(item: Json) -> dict[str, str]:
    labels: dict[str, str] = (item.get("metadata") or {}).get("labels") or {}
    return labels


def _name(item: Json) -> str:
    return str((item.get("metadata") or {}).get("name"))


def _number(text: object) -> int:
    found = re.match(r"\d+", str(text))
    return int(found[0]) if found else 0


def _kernel(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else OLDEST_LANDLOCK
