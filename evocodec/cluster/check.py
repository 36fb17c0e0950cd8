"""Cluster check: runs every check, in the order in which problems should be solved."""

from collections.abc import Callable, Iterator
from typing import Final

from evocodec.cluster import facts
from evocodec.cluster.api import ApiRefusal, ClusterApi
from evocodec.cluster.permissions import permissions
from evocodec.cluster.probe_pods import ProbeOptions
from evocodec.cluster.probing import Progress, probe
from evocodec.cluster.quotas import quotas
from evocodec.cluster.report import ClusterReport
from evocodec.domain.check import Check

_LOOKS: Final[tuple[tuple[str, Callable[[ClusterApi, str], Iterator[Check]]], ...]] = (
    ("version", facts.server_version),
    ("custom resources", facts.custom_resources),
    ("nodes", facts.nodes),
    ("runtime classes", facts.runtime_classes),
    ("storage", facts.storage),
    ("pod security", facts.pod_security),
    ("quotas", quotas),
    ("permissions", permissions),
)


def check_cluster(
    api: ClusterApi,
    *,
    namespace: str,
    probes: ProbeOptions | None,
    progress: Progress = lambda message: None,
) -> ClusterReport:
    """Check a cluster; with ``probes``, also try it out with pods.

    Raises UserError when the server does not accept the user, InfrastructureFailure when it does
    not answer. A request that this user may not make becomes a warning.
    """
    checks: list[Check] = []
    for name, look in _LOOKS:
        progress(name)
        checks += _guarded(name, look(api, namespace))
    if probes is None:
        checks.append(
            Check(
                "probes",
                "skip",
                "left out: network policies, DNS and the sandbox were not tried",
                "evocodec cluster check --probe",
            )
        )
    elif any(check.name == "namespace" for check in checks):
        checks.append(Check("probes", "skip", "not tried: there is no namespace for them"))
    else:
        checks += probe(api, namespace, probes, progress)
    return ClusterReport(server=api.server, namespace=namespace, checks=tuple(checks))


def _guarded(name: str, look: Iterator[Check]) -> Iterator[Check]:
    try:
        yield from look
    except ApiRefusal as refusal:
        if refusal.status != 403:
            yield Check(name, "fail", str(refusal), "look at the API server's own logs")
            return
        yield Check(
            name,
            "warn",
            f"not for you to see: {refusal.message}",
            "ask a user with the cluster role view, or an administrator, to run this check",
        )
