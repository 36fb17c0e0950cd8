"""Every connection that the chart's NetworkPolicies let through, against a table of those meant."""

from collections.abc import Iterable

import pytest

from tests.integration.test_chart_pods import AWS, EVERYTHING, MATRIX
from tests.support import chart_tools as chart
from tests.support.network_policies import End, allowed

NAMESPACE = "evo"
GCS, DASHBOARD, METRICS, RAY_METRICS, MODEL = 6379, 8265, 9464, 8080, 8000
RAY_NODE = frozenset({6380, 6381, 6382, 6383, 52365, 10002, 10500, 10999})
OUTSIDE = {
    "internet": End("internet", address="203.0.113.7"),
    "metadata": End("metadata", address="169.254.169.254"),
    "api server": End("api server", address="10.0.0.1"),
}
STRANGERS = {
    "dns": End("dns", {"k8s-app": "kube-dns"}, "kube-system"),
    "prometheus": End("prometheus", {"app": "prometheus"}, "monitoring"),
    "neighbour": End("neighbour", {"app": "other"}, NAMESPACE),
    "stranger": End("stranger", {"app": "other"}, "elsewhere"),
}
PROBED = {
    *RAY_NODE,
    *(GCS, DASHBOARD, METRICS, RAY_METRICS, MODEL),
    *(22, 53, 80, 443, 6443, 8443, 9090, 10001, 11000),
}
# (from, to) → TCP ports. What is not here must not be possible.
MEANT = {
    ("controller", "head"): RAY_NODE | {GCS, DASHBOARD},
    ("controller", "worker"): RAY_NODE,
    ("controller", "test-run"): RAY_NODE,
    ("head", "controller"): RAY_NODE,
    ("head", "worker"): RAY_NODE,
    ("head", "test-run"): RAY_NODE,
    ("worker", "head"): RAY_NODE | {GCS},
    ("worker", "controller"): RAY_NODE,
    ("worker", "test-run"): RAY_NODE,
    ("test-run", "head"): RAY_NODE | {GCS},
    ("test-run", "worker"): RAY_NODE,
    ("test-run", "controller"): RAY_NODE,
    ("controller", "internet"): {443},
    ("controller", "api server"): {443},
    ("head", "api server"): {443, 6443},
    ("controller", "dns"): {53},
    ("head", "dns"): {53},
    ("worker", "dns"): {53},
    ("test-run", "dns"): {53},
    ("prometheus", "controller"): {METRICS, RAY_METRICS},
    ("prometheus", "head"): {RAY_METRICS},
    ("prometheus", "worker"): {RAY_METRICS},
}
MODEL_SERVER = {
    ("controller", "vllm"): {MODEL},
    ("prometheus", "vllm"): {MODEL},
    ("vllm", "internet"): {443},
    ("vllm", "api server"): {443},
    ("vllm", "dns"): {53},
}


def _ends(objects: list[chart.Object]) -> list[End]:
    ends = []
    for _, pod in chart.pods(objects):
        ports = {
            port["name"]: port["containerPort"]
            for container in chart.containers(pod)
            for port in container.get("ports", [])
        }
        name = chart.component(pod)
        space = {"kubernetes.io/metadata.name": NAMESPACE}
        # KubeRay and the StatefulSet add labels, none of which a policy may count on.
        ends.append(End(name, pod["metadata"]["labels"], NAMESPACE, space, "", ports))
    return ends


def _strangers() -> Iterable[End]:
    for end in STRANGERS.values():
        space = {"kubernetes.io/metadata.name": end.namespace}
        yield End(end.name, end.labels, end.namespace, space)


def _flows(*words: str, protocol: str = "TCP") -> dict[tuple[str, str], set[int]]:
    objects = chart.render(*words)
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    ours = _ends(objects)
    others = [*_strangers(), *OUTSIDE.values()]
    flows: dict[tuple[str, str], set[int]] = {}
    for source in [*ours, *others]:
        for target in [*ours, *others]:
            if source.name == target.name or not (source in ours or target in ours):
                continue
            found = {port for port in PROBED if allowed(source, target, port, protocol, policies)}
            if found:
                flows[source.name, target.name] = found
    return flows


def test_what_is_meant_is_possible_and_nothing_else_is() -> None:
    assert _flows() == MEANT


def test_udp_reaches_nothing_but_dns() -> None:
    flows = _flows(protocol="UDP")
    assert flows == {(who, "dns"): {53} for who in ("controller", "head", "worker", "test-run")}


def test_a_model_server_adds_its_own_connections_only() -> None:
    assert _flows(*EVERYTHING) == MEANT | MODEL_SERVER


def test_a_model_on_the_volume_needs_no_outside() -> None:
    flows = _flows(*EVERYTHING, *chart.settings(vllm__download=False))
    assert ("vllm", "internet") not in flows
    assert ("controller", "vllm") in flows


def test_without_an_autoscaler_the_head_asks_no_api_server() -> None:
    assert ("head", "api server") not in _flows(*chart.profile("local"))


def test_the_outside_can_be_narrowed_to_what_is_used() -> None:
    narrow = chart.settings(
        networkPolicy__outside__cidrs=["203.0.113.0/24"], networkPolicy__outside__ports=[22, 8443]
    )
    flows = _flows(*narrow)
    assert flows["controller", "internet"] == {22, 8443}
    assert ("controller", "api server") not in flows
    closed = _flows(*chart.settings(networkPolicy__outside__cidrs=[]))
    assert ("controller", "internet") not in closed


def test_the_attacks_of_the_helm_test_can_reach_nobody() -> None:
    assert not [pair for pair in _flows() if "test-redteam" in pair]


def test_ports_that_are_moved_are_moved_in_the_policies_too() -> None:
    flows = _flows(*chart.settings(ray__ports__gcs=9090, metrics__port=8443))
    assert flows["worker", "head"] == RAY_NODE | {9090}
    assert flows["prometheus", "controller"] == {8443, RAY_METRICS}


@pytest.mark.parametrize(
    "words", [words for name, words in MATRIX.items() if name != "bare"], ids=lambda _: ""
)
def test_every_pod_is_denied_by_default_both_ways(words: tuple[str, ...]) -> None:
    objects = chart.render(*words)
    deny = chart.only(objects, "NetworkPolicy", "-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not deny.get("ingress")
    assert not deny.get("egress")
    wanted = deny["podSelector"]["matchLabels"].items()
    for name, pod in chart.pods(objects):
        assert wanted <= pod["metadata"]["labels"].items(), name


def test_an_exception_never_lies_outside_its_block() -> None:
    words = (*AWS, *chart.settings(networkPolicy__outside__cidrs=["198.51.100.0/24"]))
    policy = chart.only(chart.render(*words), "NetworkPolicy", "-controller")
    assert policy["spec"]["egress"][0]["to"] == [{"ipBlock": {"cidr": "198.51.100.0/24"}}]


def test_the_table_would_notice_a_policy_that_is_too_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = chart.render()
    wide = {
        "kind": "NetworkPolicy",
        "metadata": {"name": "wide"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
    }
    monkeypatch.setattr(chart, "render", lambda *words: [*objects, wide])
    assert _flows()["worker", "internet"] == PROBED
