"""Checks that need a running pod: image, DNS, network policies, the sandbox on a worker."""

import secrets
from collections.abc import Callable, Iterator
from typing import Final

from evocodec.cluster.api import ApiRefusal, ClusterApi, Json
from evocodec.cluster.permissions import may_probe
from evocodec.cluster.probe_pods import NAMES, ProbeOptions
from evocodec.cluster.probe_session import ProbeFailure, ProbeSession
from evocodec.domain.check import Check

Progress = Callable[[str], None]
FLOOR_NAMES: Final = ("sandbox floor", "red team", "worker gpu")
NETWORK_NAMES: Final = ("network policy", "metadata service", "dns")


def probe(
    api: ClusterApi, namespace: str, options: ProbeOptions, progress: Progress
) -> list[Check]:
    """Run the probe pods and return the findings; all objects are deleted afterwards."""
    lacking = may_probe(api, namespace)
    if lacking:
        return [
            Check(
                "probes",
                "fail",
                f"in {namespace} you may not {', '.join(lacking)}",
                "have an administrator run this, or leave probes out with --no-probe",
            )
        ]
    session = ProbeSession(api, namespace, secrets.token_hex(4), options)
    try:
        with session:
            findings = list(_findings(session, options, progress))
    except ApiRefusal as refusal:
        findings = [_refused(refusal, namespace)]
    if session.left_over:
        findings.append(
            Check(
                "cleaning up",
                "fail",
                f"could not delete {', '.join(session.left_over)}",
                f"kubectl --namespace {namespace} delete {' '.join(session.left_over)}",
            )
        )
    return findings


def _findings(session: ProbeSession, options: ProbeOptions, progress: Progress) -> Iterator[Check]:
    progress("starting probe pods")
    session.make_policies()
    session.start("server")
    session.start("floor")
    try:
        progress("waiting for the image and a node")
        address = session.address("server")
        session.start("open", target=address)
        session.start("denied", target=address)
        progress("trying the network")
        reached, denied = session.result("open"), session.result("denied")
    except ProbeFailure as failure:
        if failure.image:
            yield _no_image(failure)
            for name in (*NETWORK_NAMES, *FLOOR_NAMES[:2]):
                yield Check(name, "skip", "not tried: the image could not be pulled")
            return
        yield Check("network probe", "fail", str(failure), "kubectl describe nodes; see above")
    else:
        yield Check("image", "ok", options.image)
        yield _policy(reached, denied)
        yield _metadata(denied)
        yield _names(reached, enforced=not denied.get("target"))
    yield from _worker(session, options, progress)


def _worker(session: ProbeSession, options: ProbeOptions, progress: Progress) -> Iterator[Check]:
    progress("attacking the sandbox on a worker")
    try:
        found = session.result("floor")
    except ProbeFailure as failure:
        fix = "raise --timeout where nodes must be started first"
        yield (
            _no_image(failure)
            if failure.image
            else Check("sandbox floor", "fail", str(failure), fix)
        )
        return
    yield _floor(found)
    yield _red_team(found)
    if options.gpus:
        count = int(found.get("gpus") or 0)
        yield Check(
            "worker gpu",
            "ok" if count >= options.gpus else "fail",
            f"{count} of {options.gpus} GPU device(s) in the pod",
            "" if count >= options.gpus else "check the device plugin and the runtime class",
        )


def _no_image(failure: ProbeFailure) -> Check:
    return Check(
        "image",
        "fail",
        str(failure),
        "push the image where nodes can pull it and name it with --image; for a private registry "
        "also --pull-secret; on kind: kind load docker-image",
    )


def _refused(refusal: ApiRefusal, namespace: str) -> Check:
    if refusal.status == 403 and "quota" in refusal.message:
        fix = "have the quota raised, or leave probes out with --no-probe"
    elif refusal.status == 404:
        fix = f"kubectl create namespace {namespace}"
    else:
        fix = (
            "an admission policy is stricter than the restricted profile: make an exception for it"
        )
    return Check("probes", "fail", f"a probe was refused: {refusal.message}", fix)


def _policy(reached: Json, denied: Json) -> Check:
    name = "network policy"
    if not reached.get("target"):
        return Check(
            name,
            "fail",
            "a pod that may connect to another could not, so nothing is known about refusals",
            "see whether pods reach each other across nodes: the network plugin's own checks",
        )
    if denied.get("target"):
        return Check(
            name,
            "fail",
            "not enforced: a pod under a policy that denies everything reached another",
            "use a network plugin that enforces policies (Calico, Cilium, GKE Dataplane V2, or "
            "the Amazon VPC CNI with enableNetworkPolicy)",
        )
    if denied.get("api"):
        return Check(
            name,
            "warn",
            "enforced between pods, but not towards the API server",
            "the plugin exempts it; pods of the chart hold no token for it but the autoscaler",
        )
    seconds = float(denied.get("seconds") or 0.0)
    if seconds >= 1.0:
        return Check(
            name,
            "warn",
            f"enforced, but only {seconds:.1f} s after the pod's start",
            "where the plugin can start pods closed, let it (Amazon VPC CNI: strict mode)",
        )
    return Check(name, "ok", "enforced: the allowed pod connected, the denied one could not")


def _metadata(denied: Json) -> Check:
    if not denied.get("metadata"):
        return Check("metadata service", "ok", "169.254.169.254 cannot be reached from pods")
    return Check(
        "metadata service",
        "warn",
        "169.254.169.254 answers a pod that may connect to nothing: it may hand out credentials",
        "limit it: on EKS a hop limit of 1 for IMDSv2, on GKE Workload Identity",
    )


def _names(reached: Json, *, enforced: bool) -> Check:
    names = reached.get("names") or {}
    full, short = (bool(names.get(name)) for name in NAMES)
    if full:
        how = "under a policy like the chart's" if enforced else "but no policy was in force"
        return Check("dns", "ok", f"{NAMES[0]} resolves, {how}")
    if short:
        return Check(
            "dns",
            "warn",
            f"{NAMES[1]} resolves, {NAMES[0]} does not: the cluster has another domain",
            "set clusterDomain to what /etc/resolv.conf of a pod says",
        )
    return Check(
        "dns",
        "fail",
        "no name resolves for a pod that may only ask pods k8s-app=kube-dns in kube-system",
        "set networkPolicy.dns to where your name servers are; a node-local cache: "
        "networkPolicy.dns.cidrs={169.254.20.10/32}",
    )


def _floor(found: Json) -> Check:
    state = found.get("floor")
    detail = str(found.get("detail") or "no answer")
    if state in {"ok", "warn"}:
        return Check("sandbox floor", "ok", detail)
    return Check(
        "sandbox floor",
        "fail",
        detail,
        "nodes need a kernel from 5.13 on with Landlock in its list of security modules "
        "(/sys/kernel/security/lsm), or gVisor for workers",
    )


def _red_team(found: Json) -> Check:
    count, held = int(found.get("attacks") or 0), int(found.get("held") or 0)
    if not count:
        return Check(
            "red team",
            "fail",
            f"did not run: {found.get('problem') or 'no answer'}",
            "run it in a pod of the image: evocodec redteam --mode pod",
        )
    if not found.get("ok"):
        bad = ", ".join(map(str, found.get("bad") or []))
        return Check(
            "red team",
            "fail",
            f"{held} of {count} attacks held; not: {bad}",
            "do not run candidates here; docs/redteam.md says which layer should have stopped each",
        )
    others = "" if held == count else "; the others are documented limits"
    return Check("red team", "ok", f"{held} of {count} attacks held{others}")
