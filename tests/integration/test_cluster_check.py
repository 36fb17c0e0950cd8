"""`evocodec cluster check` against a fake API server."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kubernetes", reason="not installed: pip install -c constraints.txt kubernetes")
pytest.importorskip("kmock", reason="not installed: pip install -c constraints.txt kmock")

from evocodec.cluster import facts, quotas
from evocodec.cluster.api import ClusterApi, connect
from evocodec.cluster.check import check_cluster
from evocodec.cluster.permissions import NEEDED, OPTIONAL
from evocodec.cluster.probe_pods import MANAGED_BY, ProbeOptions
from evocodec.cluster.probing import probe
from evocodec.cluster.quantities import quantity
from evocodec.cluster.report import ClusterReport
from evocodec.domain.check import Check
from evocodec.domain.errors import InfrastructureFailure, UserError
from tests.support.fake_kubernetes_api import (
    DISCOVERY,
    NAMESPACE,
    RESTRICTED,
    FakeCluster,
    fake_cluster,
    make_healthy,
    node,
)

Json = dict[str, Any]
CHART = Path(__file__).resolve().parents[2] / "helm" / "evocodec"
POLICIES = "networking.k8s.io/v1/networkpolicies"
QUICK = ProbeOptions(image="registry.example.com/sandbox:1", timeout_seconds=1.0, poll_seconds=0.02)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    with fake_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(served: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    served.reset()
    make_healthy(served)
    monkeypatch.setenv("KUBECONFIG", str(served.write_kubeconfig(tmp_path / "config")))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return served


def look(*, probes: ProbeOptions | None = None) -> ClusterReport:
    return check_cluster(connect(), namespace=NAMESPACE, probes=probes)


def finding(report: ClusterReport, name: str) -> Check:
    return named(report.checks, name)


def named(findings: Iterable[Check], name: str) -> Check:
    (found,) = (f for f in findings if f.name == name)
    return found


def of_facts(question: Callable[[ClusterApi, str], Iterator[Check]], name: str) -> Check:
    """One question alone: the whole list costs seventy requests."""
    return named(question(connect(), NAMESPACE), name)


def of_probes(name: str, options: ProbeOptions = QUICK) -> Check:
    return named(probe(connect(), NAMESPACE, options, lambda words: None), name)


# -- a healthy cluster --


def test_a_healthy_cluster_passes_everything_and_keeps_nothing_of_the_probes(
    cluster: FakeCluster,
) -> None:
    report = look(probes=QUICK)
    assert report.ok
    assert {f.state for f in report.checks} == {"ok"}
    assert {"network policy", "dns", "sandbox floor", "red team"} <= {f.name for f in report.checks}
    assert len(cluster.posted("pods")) == 4
    assert cluster.names("v1/pods") == []
    assert cluster.names(POLICIES) == []


def test_without_probes_nothing_is_made_and_the_report_says_so(cluster: FakeCluster) -> None:
    report = look()
    assert report.ok
    assert finding(report, "probes").state == "skip"
    assert cluster.posted("pods") == []
    assert cluster.posted("networkpolicies") == []


def test_probe_pods_keep_to_the_restricted_profile_and_end_by_themselves(
    cluster: FakeCluster,
) -> None:
    of_probes("image")
    pods = list(cluster.posted("pods"))
    assert pods
    for pod in pods:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["activeDeadlineSeconds"] > 0
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert all("emptyDir" in volume for volume in spec["volumes"])
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}


def test_only_the_denied_pod_s_own_policy_stands_between_it_and_the_server(
    cluster: FakeCluster,
) -> None:
    of_probes("image")
    pods = {p["metadata"]["labels"]["evocodec/probe-role"]: p for p in cluster.posted("pods")}
    made = {
        p["metadata"]["labels"]["evocodec/probe-role"]: p["spec"]
        for p in cluster.posted("networkpolicies")
    }
    for role, policy in made.items():
        labels = pods[role]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = made["server"]["ingress"]
    (peer,) = rule["from"]
    labels = pods["denied"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    assert made["denied"]["egress"] == []
    assert made["open"]["egress"] != []


# -- what a cluster may lack --


def test_an_old_server_fails(cluster: FakeCluster) -> None:
    cluster.behaviour.version = ("1", "28+")
    assert of_facts(facts.server_version, "version").state == "fail"


def test_without_kuberay_it_says_how_to_install_it(cluster: FakeCluster) -> None:
    cluster.behaviour.absent.add("ray.io/v1")
    found = of_facts(facts.custom_resources, "kuberay")
    assert found.state == "fail"
    assert "helm install kuberay-operator" in found.fix


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ("authOptions", "authOptions"),
        ("autoscalerOptions", "autoscalerOptions.command"),
        ("upgradeStrategy", "upgradeStrategy"),
    ],
)
def test_a_kuberay_that_would_drop_fields_of_the_chart_fails(
    cluster: FakeCluster, without: str, missing: str
) -> None:
    scaler: dict[str, Any] = {"properties": {"command": {}}}
    fields = {"authOptions": {}, "autoscalerOptions": scaler, "upgradeStrategy": {}}
    del fields[without]
    schema = {"openAPIV3Schema": {"properties": {"spec": {"properties": fields}}}}
    cluster.put(
        "apiextensions.k8s.io/v1/customresourcedefinitions",
        "rayclusters.ray.io",
        {"spec": {"versions": [{"name": "v1", "schema": schema}]}},
    )
    found = of_facts(facts.custom_resources, "kuberay")
    assert (found.state, f"knows no {missing}:" in found.detail) == ("fail", True)


def test_without_the_prometheus_operator_it_only_warns(cluster: FakeCluster) -> None:
    cluster.behaviour.absent.add("monitoring.coreos.com/v1")
    assert of_facts(facts.custom_resources, "prometheus operator").state == "warn"
    assert of_facts(facts.custom_resources, "kuberay").state == "ok"


def test_gpu_nodes_without_a_device_plugin_fail(cluster: FakeCluster) -> None:
    cluster.put("v1/nodes", "worker-3", node(gpus=0, **{"nvidia.com/gpu.present": "true"}))
    found = of_facts(facts.nodes, "gpus")
    assert found.state == "fail"
    assert "worker-3" in found.detail


def test_a_cluster_without_gpus_is_a_warning(cluster: FakeCluster) -> None:
    for name in ("worker-1", "worker-2"):
        cluster.put("v1/nodes", name, node(gpus=0))
    assert of_facts(facts.nodes, "gpus").state == "warn"


def test_kernels_without_landlock_fail(cluster: FakeCluster) -> None:
    cluster.put("v1/nodes", "old", node(gpus=0, kernel="5.10.220"))
    assert of_facts(facts.nodes, "nodes").state == "fail"


def test_nodes_are_counted_over_all_pages(cluster: FakeCluster) -> None:
    cluster.behaviour.page = 1
    assert "2 of 2 ready" in of_facts(facts.nodes, "nodes").detail


def test_without_a_default_storage_class_it_names_one_to_set(cluster: FakeCluster) -> None:
    cluster.put("storage.k8s.io/v1/storageclasses", "fast", {"provisioner": "csi.example.com"})
    found = of_facts(facts.storage, "storage")
    assert found.state == "fail"
    assert "storageClass=fast" in found.fix


def test_a_namespace_that_enforces_less_than_restricted_is_a_warning(cluster: FakeCluster) -> None:
    cluster.behaviour.labels = {next(iter(RESTRICTED)): "baseline"}
    found = of_facts(facts.pod_security, "pod security")
    assert found.state == "warn"
    assert f"kubectl label --overwrite namespace {NAMESPACE}" in found.fix


def test_without_the_namespace_no_probe_is_tried(cluster: FakeCluster) -> None:
    cluster.behaviour.labels = None
    report = look(probes=QUICK)
    assert finding(report, "namespace").state == "fail"
    assert finding(report, "probes").state == "skip"
    assert cluster.posted("pods") == []


@pytest.mark.parametrize(
    ("name", "hard", "used", "state"),
    [
        ("requests.cpu", "12", "1", "fail"),
        ("requests.cpu", "40", "1", "ok"),
        ("limits.memory", "1Gi", "0", "fail"),
        ("limits.memory", "64Gi", "0", "ok"),
        ("services", "1", "1", "ok"),
        ("requests.memory", "40Gi", "0", "fail"),
        ("requests.nvidia.com/gpu", "4", "4", "fail"),
    ],
)
def test_a_quota_must_leave_room_for_one_worker(
    cluster: FakeCluster, name: str, hard: str, used: str, state: str
) -> None:
    status = {"hard": {name: hard}, "used": {name: used}}
    cluster.put("v1/resourcequotas", "team", {"status": status}, namespace=NAMESPACE)
    assert of_facts(quotas.quotas, "quotas").state == state


def test_a_quota_of_processor_limits_needs_a_default_for_those_without(
    cluster: FakeCluster,
) -> None:
    status = {"hard": {"limits.cpu": "400"}, "used": {}}
    cluster.put("v1/resourcequotas", "team", {"status": status}, namespace=NAMESPACE)
    found = of_facts(quotas.quotas, "quotas")
    assert (found.state, "add a LimitRange" in found.detail) == ("fail", True)
    limits = [{"type": "Container", "default": {"cpu": "2"}}]
    cluster.put("v1/limitranges", "defaults", {"spec": {"limits": limits}}, namespace=NAMESPACE)
    assert of_facts(quotas.quotas, "quotas").state == "ok"


def test_any_kueue_will_do(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "localqueues absent" in of_facts(facts.custom_resources, "optional kinds").detail
    monkeypatch.setitem(DISCOVERY, "kueue.x-k8s.io/v1beta2", ["localqueues"])
    assert "localqueues there" in of_facts(facts.custom_resources, "optional kinds").detail


def test_a_limit_range_smaller_than_a_worker_fails(cluster: FakeCluster) -> None:
    limits = [{"type": "Container", "max": {"memory": "16Gi"}}]
    cluster.put("v1/limitranges", "small", {"spec": {"limits": limits}}, namespace=NAMESPACE)
    found = of_facts(quotas.quotas, "quotas")
    assert (found.state, "16Gi" in found.detail) == ("fail", True)


def test_missing_permissions_are_named(cluster: FakeCluster) -> None:
    cluster.behaviour.denied |= {("create", "rayclusters"), ("create", "runtimeclasses")}
    report = look()
    assert "create rayclusters" in finding(report, "permissions").detail
    assert finding(report, "optional permissions").state == "warn"
    assert not report.ok


def test_what_one_may_not_see_is_a_warning_and_the_rest_goes_on(cluster: FakeCluster) -> None:
    cluster.behaviour.refused["GET", "nodes"] = (403, "Forbidden", "nodes is forbidden")
    report = look()
    assert finding(report, "nodes").state == "warn"
    assert finding(report, "storage").state == "ok"
    assert report.ok


# -- it asks about the chart as it is --


def test_permissions_are_asked_for_every_kind_that_the_chart_makes() -> None:
    kinds = {
        kind.lower()
        for path in (CHART / "templates").rglob("*.yaml")
        for kind in re.findall(r"^kind: (\w+)", path.read_text(encoding="utf-8"), re.M)
    }
    plurals = {re.sub(r"ys$", "ies", re.sub(r"ss$", "sse", kind) + "s") for kind in kinds}
    asked = {plural for _group, plural in NEEDED} | {plural for _group, plural, _ in OPTIONAL}
    assert len(kinds) > 10
    assert plurals - asked == set()


def test_a_worker_is_as_large_as_the_chart_says() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    worker, head, controller = values["ray"]["worker"], values["ray"]["head"], values["controller"]
    assert quantity(worker["cpus"]) == quotas.WORKER_CPUS
    assert quantity(worker["memory"]) == quotas.WORKER_MEMORY_BYTES
    asked = [part["resources"]["requests"] for part in (head, controller)]
    cpus = sum(quantity(each["cpu"]) for each in asked) + quotas.WORKER_CPUS
    memory = sum(quantity(each["memory"]) for each in asked) + quotas.WORKER_MEMORY_BYTES
    # Besides: the autoscaler's container and the controller's node of Ray.
    assert 0 <= quotas.TOTAL_CPUS - cpus <= 1
    assert 0 <= quotas.TOTAL_MEMORY_BYTES - memory <= 2 * 2**30
    limited = sum(quantity(part["resources"]["limits"]["memory"]) for part in (head, controller))
    beside = quotas.TOTAL_MEMORY_LIMIT_BYTES - limited - quotas.WORKER_MEMORY_BYTES
    assert 0 <= beside <= 4 * 2**30
    # What a quota of processor limits is told about.
    assert "cpu" not in controller["resources"]["limits"]


# -- what probes find --


@pytest.mark.parametrize(
    ("role", "change", "name", "state", "words"),
    [
        ("denied", {"target": True}, "network policy", "fail", "not enforced"),
        ("denied", {"seconds": 4.0}, "network policy", "warn", "4.0 s after"),
        ("denied", {"api": True}, "network policy", "warn", "API server"),
        ("open", {"target": False}, "network policy", "fail", "nothing is known"),
        ("denied", {"metadata": True}, "metadata service", "warn", "credentials"),
        ("open", {"names": {}}, "dns", "fail", "no name resolves"),
        ("open", {"names": {"kubernetes.default.svc": True}}, "dns", "warn", "another domain"),
        ("floor", {"floor": "fail"}, "sandbox floor", "fail", "landlock"),
        ("floor", {"ok": False, "bad": ["files/x"]}, "red team", "fail", "files/x"),
        ("floor", {"attacks": 0, "problem": "no module"}, "red team", "fail", "no module"),
    ],
)
def test_answers_of_pods_become_findings(
    cluster: FakeCluster, role: str, change: Json, name: str, state: str, words: str
) -> None:
    cluster.answer(role, change)
    found = of_probes(name)
    assert found.state == state
    assert words in found.detail
    assert found.fix


def test_a_worker_s_gpu_is_looked_for_when_asked_for(cluster: FakeCluster) -> None:
    options = ProbeOptions(
        image="x",
        gpus=1,
        runtime_class="gvisor",
        node_labels=(("pool", "l4"),),
        poll_seconds=0.02,
    )
    assert of_probes("worker gpu", options).state == "fail"
    (floor,) = (p for p in cluster.posted("pods") if p["metadata"]["name"].endswith("-floor"))
    assert floor["spec"]["runtimeClassName"] == "gvisor"
    assert floor["spec"]["nodeSelector"] == {"pool": "l4"}
    assert floor["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    cluster.answer("floor", {"gpus": 1})
    assert of_probes("worker gpu", options).state == "ok"


def test_an_image_that_cannot_be_pulled_is_said_once_and_cleaned_up(cluster: FakeCluster) -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "not found"}
    status = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}
    cluster.behaviour.stuck |= {"server": status, "floor": status}
    found = probe(connect(), NAMESPACE, QUICK, lambda words: None)
    image = named(found, "image")
    assert (image.state, "not found" in image.detail) == ("fail", True)
    assert named(found, "red team").state == "skip"
    assert cluster.names("v1/pods") == []


def test_a_pod_that_no_node_takes_is_reported_in_the_scheduler_s_words(
    cluster: FakeCluster,
) -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/2 nodes are available: 2 Insufficient memory.",
    }
    cluster.behaviour.stuck["floor"] = {"phase": "Pending", "conditions": [condition]}
    found = of_probes("sandbox floor")
    assert found.state == "fail"
    assert "2 Insufficient memory" in found.detail


def test_a_node_s_complaint_is_taken_from_the_events(cluster: FakeCluster) -> None:
    cluster.behaviour.stuck["floor"] = {"phase": "Pending"}
    event = {"type": "Warning", "message": 'no runtime for "gvisor" is configured'}
    cluster.put("v1/events", "e1", event, namespace=NAMESPACE)
    assert "no runtime for" in of_probes("sandbox floor").detail


def test_a_pod_that_crashes_is_reported_with_its_last_words(cluster: FakeCluster) -> None:
    ended = {"exitCode": 1, "reason": "Error", "message": "ModuleNotFoundError: evocodec"}
    status = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": ended}}]}
    cluster.behaviour.stuck["floor"] = status
    assert "ModuleNotFoundError" in of_probes("sandbox floor").detail


def test_a_probe_that_admission_refuses_leaves_nothing_behind(cluster: FakeCluster) -> None:
    message = "pods is forbidden: exceeded quota: team"
    cluster.behaviour.refused["POST", "pods"] = (403, "Forbidden", message)
    found = of_probes("probes")
    assert (found.state, message in found.detail) == ("fail", True)
    assert cluster.names(POLICIES) == []


def test_who_may_not_make_pods_is_told_so_before_any_is_made(cluster: FakeCluster) -> None:
    cluster.behaviour.denied.add(("create", "pods"))
    assert "create pods" in of_probes("probes").detail
    assert cluster.posted("networkpolicies") == []


def test_what_cannot_be_deleted_is_named_with_the_command_that_does_it(
    cluster: FakeCluster,
) -> None:
    cluster.behaviour.refused["DELETE", "pods"] = (500, "InternalError", "etcd is gone")
    found = of_probes("cleaning up")
    assert found.state == "fail"
    assert len(re.findall(r"pods/evocodec-check-\w+", found.fix)) == 4


def test_old_probes_of_a_killed_check_are_swept_and_strangers_stay(cluster: FakeCluster) -> None:
    old = (datetime.now(UTC) - timedelta(hours=2)).isoformat(timespec="seconds")
    ours = {"app.kubernetes.io/managed-by": MANAGED_BY}
    for name, labels, when in [
        ("left-over", ours, old),
        ("in-use", ours, datetime.now(UTC).isoformat(timespec="seconds")),
        ("stranger", {}, old),
    ]:
        metadata = {"labels": labels, "creationTimestamp": when.replace("+00:00", "Z")}
        cluster.put("v1/pods", name, {"metadata": metadata}, namespace=NAMESPACE)
    of_probes("image")
    assert sorted(cluster.names("v1/pods")) == ["in-use", "stranger"]


# -- a server that does not help --


def test_unknown_credentials_are_the_user_s_to_mend(cluster: FakeCluster) -> None:
    cluster.behaviour.everything = (401, '{"kind": "Status", "reason": "Unauthorized"}')
    with pytest.raises(UserError, match="log in again"):
        connect().get("/version")


def test_something_else_behind_the_address_is_recognised(cluster: FakeCluster) -> None:
    cluster.behaviour.everything = (200, "<html>a login page</html>")
    with pytest.raises(InfrastructureFailure, match="does not answer like a Kubernetes API"):
        look()


def test_a_server_that_is_away_is_reported(cluster: FakeCluster, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    text = (tmp_path / "config").read_text().replace(cluster.url, f"http://127.0.0.1:{port}")
    (tmp_path / "config").write_text(text)
    with pytest.raises(InfrastructureFailure, match="kubectl cluster-info"):
        look()


def test_a_server_that_is_silent_is_given_up(cluster: FakeCluster, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        silent = f"http://127.0.0.1:{server.getsockname()[1]}"
        text = (tmp_path / "config").read_text().replace(cluster.url, silent)
        (tmp_path / "config").write_text(text)
        api = connect(request_seconds=0.5)
        with pytest.raises(InfrastructureFailure, match="no answer"):
            api.get("/version")
        server.setblocking(False)
        asked, _ = server.accept()
        asked.close()
        with pytest.raises(BlockingIOError):
            server.accept()  # asked once, not again and again


@pytest.mark.parametrize(
    "text", ["", "- a list", "{bad yaml", "a word", '{"contexts": 3}', "kind: Config\n"]
)
def test_a_kubeconfig_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(UserError, match=re.escape(str(path))):
        connect()


def test_a_broken_kubeconfig_s_token_is_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config"
    path.write_text("users:\n- user:\n    token: hush-hush: x\n")
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(UserError) as caught:
        connect()
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_without_a_kubeconfig_it_says_where_one_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UserError, match="aws eks update-kubeconfig"):
        connect()


def test_in_a_pod_without_a_token_it_says_to_ask_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(UserError, match="this pod has no token"):
        connect()


def test_an_unknown_context_is_answered_with_the_known_ones(cluster: FakeCluster) -> None:
    with pytest.raises(UserError, match="which has test; name one"):
        connect(context="prod")


def test_the_token_of_the_kubeconfig_is_sent(cluster: FakeCluster) -> None:
    connect().get("/version")
    assert cluster.authorizations() == {"Bearer secret-token"}


# -- the command --


def command(cluster: FakeCluster, tmp_path: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "evocodec.cli.main", "cluster", "check", "-n", NAMESPACE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def test_the_command_prints_json_and_its_exit_code_says_whether_anything_failed(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.behaviour.absent.add("ray.io/v1")
    running = command(cluster, tmp_path, "--no-probe", "--json")
    out, err = running.communicate(timeout=60)
    report = json.loads(out)
    assert (running.returncode, report["ok"], report["counts"]["fail"]) == (1, False, 1), err
    assert {"name", "state", "detail", "fix"} == report["findings"][0].keys()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_check_deletes_what_it_made(
    cluster: FakeCluster, tmp_path: Path, number: signal.Signals
) -> None:
    cluster.behaviour.stuck["floor"] = {"phase": "Pending"}
    with command(cluster, tmp_path, "--timeout", "100") as running:
        try:
            deadline = time.monotonic() + 60
            while len(cluster.names("v1/pods")) < 4:
                assert running.poll() is None, running.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            running.send_signal(number)
            running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == 130
    assert cluster.names("v1/pods") == []
    assert cluster.names(POLICIES) == []
