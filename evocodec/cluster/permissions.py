"""Permissions of the user who installs the chart, asked of the API server itself."""

from collections.abc import Iterator
from typing import Final

from evocodec.cluster.api import ClusterApi
from evocodec.domain.check import Check

# (API group, plural) of what the chart makes in its namespace.
NEEDED: Final = (
    ("", "configmaps"),
    ("", "persistentvolumeclaims"),
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "statefulsets"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("ray.io", "rayclusters"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
)
OPTIONAL: Final = (
    ("", "pods", "helm test"),
    ("apps", "deployments", "vllm.enabled"),
    ("external-secrets.io", "externalsecrets", "externalSecret.enabled"),
    ("keda.sh", "scaledobjects", "vllm.keda.enabled"),
    ("monitoring.coreos.com", "podmonitors", "metrics.serviceMonitor.enabled"),
    ("monitoring.coreos.com", "servicemonitors", "metrics.serviceMonitor.enabled"),
    ("monitoring.coreos.com", "prometheusrules", "metrics.prometheusRule.enabled"),
    ("node.k8s.io", "runtimeclasses", "gvisor.createRuntimeClass"),
    ("scheduling.k8s.io", "priorityclasses", "priorityClasses.create"),
)
CLUSTER_WIDE: Final = frozenset({"runtimeclasses", "priorityclasses"})
PROBE_NEEDS: Final = (
    ("create", "", "pods"),
    ("get", "", "pods"),
    ("delete", "", "pods"),
    ("create", "networking.k8s.io", "networkpolicies"),
    ("delete", "networking.k8s.io", "networkpolicies"),
)
_REVIEW: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def allowed(api: ClusterApi, verb: str, group: str, plural: str, *, namespace: str = "") -> bool:
    """Ask the server whether this user may do it; an empty namespace means the whole cluster."""
    attributes = {"verb": verb, "group": group, "resource": plural, "namespace": namespace}
    review = api.create(
        _REVIEW,
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        },
    )
    return bool((review.get("status") or {}).get("allowed"))


def permissions(api: ClusterApi, namespace: str) -> Iterator[Check]:
    """Check that this user may install, upgrade and remove the chart."""
    missing = [
        f"{verb} {plural}"
        for group, plural in NEEDED
        for verb in ("create", "patch", "delete")
        if not allowed(api, verb, group, plural, namespace=namespace)
    ]
    if missing:
        yield Check(
            "permissions",
            "fail",
            f"in {namespace} you may not {', '.join(missing)}",
            f"have an administrator bind you to the cluster role admin in {namespace}, and to one "
            "for rayclusters, or install for you",
        )
    else:
        yield Check("permissions", "ok", f"all that the chart makes in {namespace}")
    extras = [
        f"{plural} ({value})"
        for group, plural, value in OPTIONAL
        if not allowed(
            api, "create", group, plural, namespace="" if plural in CLUSTER_WIDE else namespace
        )
    ]
    if extras:
        yield Check(
            "optional permissions",
            "warn",
            f"you may not create {', '.join(extras)}",
            "leave those values off, or have an administrator install",
        )


def may_probe(api: ClusterApi, namespace: str) -> list[str]:
    """Return the permissions that probes need and this user lacks."""
    return [
        f"{verb} {plural}"
        for verb, group, plural in PROBE_NEEDS
        if not allowed(api, verb, group, plural, namespace=namespace)
    ]
