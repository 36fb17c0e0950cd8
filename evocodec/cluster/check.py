"""Cluster check: runs every check, in the order in which problems should be solved."""

from collections.abc import Callable, Iterator
from typing import Final

from evocodec.cluster import facts
from evocodec.cluster.api import ApiRefusal, ClusterApi
from evocodec.cluster.findings import ClusterReport, Finding
from evocodec.cluster.permissions import permissions
from evocodec.cluster.probe_pods import ProbeOptions
from evocodec.cluster.probing import Progress, probe
from evocodec.cluster.quotas import quotas

_LOOKS: Final[tuple[tuple[str, Callable[[ClusterApi, str], Iterator[Finding]]], ...]] = (
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
    progress: Progress = lambda words: None,
) -> ClusterReport:
    """Check a cluster; with ``probes``, also try it out with pods.

    Raises UserError when the server does not accept the user, InfrastructureFailure when it does
    not answer. A request that this user may not make becomes a warning.
    """
    findings: list[Finding] = []
    for name, look in _LOOKS:
        progress(name)
        findings += _guarded(name, look(api, namespace))
    if probes is None:
        findings.append(
            Finding(
                "probes",
                "skip",
                "left out: network policies, DNS and the sandbox were not tried",
                "evocodec cluster check --probe",
            )
        )
    elif any(finding.name == "namespace" for finding in findings):
        findings.append(Finding("probes", "skip", "not tried: there is no namespace for them"))
    else:
        findings += probe(api, namespace, probes, progress)
    return ClusterReport(server=api.server, namespace=namespace, findings=tuple(findings))


def _guarded(name: str, look: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from look
    except ApiRefusal as refusal:
        if refusal.status != 403:
            yield Finding(name, "fail", str(refusal), "look at the API server's own logs")
            return
        yield Finding(
            name,
            "warn",
            f"not for you to see: {refusal.message}",
            "have somebody with the cluster role view, or an administrator, run this check",
        )
