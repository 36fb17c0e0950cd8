"""Every pod of the chart against the restricted profile, under every combination of switches."""

import copy
from collections.abc import Callable

import pytest

from tests.support import chart_tools as chart
from tests.support.pod_security import stricter, violations
from tests.support.ray_nodes import CHART

EVERYTHING = (
    *chart.profile("large"),
    *chart.settings(
        gvisor__enabled=True,
        vllm__enabled=True,
        vllm__model="org/model",
        vllm__keda__enabled=True,
        controller__gitSecret="git",
        externalSecret__enabled=True,
        externalSecret__store__name="vault",
        externalSecret__data={"EVOCODEC_MODEL__API_KEY": {"key": "evocodec"}},
        kueue__enabled=True,
        kueue__queueName="gpus",
        kueue__elastic=True,
        seccompProfile__localhostProfile="evocodec.json",
    ),
)
AWS = chart.settings(
    store__backend="dynamodb",
    store__region="eu-west-1",
    store__bucket="evocodec-lab",
    champions__remote="https://git.example.com/codecs.git",
    controller__persistence__enabled=False,
    ray__auth__enabled=False,
)
BARE = chart.settings(
    networkPolicy__enabled=False,
    podDisruptionBudget__enabled=False,
    ray__standInShell=False,
    ray__autoscaling__enabled=False,
    ray__worker__minReplicas=2,
    ray__worker__gpus=0,
    metrics__enabled=False,
    controller__mode="idle",
    serviceAccount__create=False,
    serviceAccount__name="mine",
)
MATRIX = {
    "default": (),
    "small": chart.profile("small"),
    "large": chart.profile("large"),
    "local": chart.profile("local"),
    "everything": EVERYTHING,
    "aws": AWS,
    "bare": BARE,
}
matrix = pytest.mark.parametrize("words", MATRIX.values(), ids=MATRIX.keys())


@matrix
def test_every_pod_is_restricted(
    words: tuple[str, ...],
) -> None:
    pods = list(chart.pods(chart.render(*words)))
    parts = {chart.component(pod) for _, pod in pods}
    assert parts >= {"controller", "head", "worker", "test-redteam", "test-run"}
    for name, pod in pods:
        assert violations(pod["spec"]) == [], name
        assert stricter(pod["spec"]) == [], name


def test_the_seccomp_profile_can_be_left_to_the_platform_and_nothing_else_is() -> None:
    words = chart.settings(seccompProfile__enabled=False)
    pods = list(chart.pods(chart.render(*words)))
    assert pods
    for name, pod in pods:
        found = violations(pod["spec"])
        assert found, name
        assert all("seccomp profile None" in each for each in found), name


_SPOILT = {
    "hostNetwork": lambda spec: spec.update(hostNetwork=True),
    "host path": lambda spec: spec["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
    "root": lambda spec: spec["securityContext"].update(runAsUser=0),
    "perhaps root": lambda spec: (
        spec["securityContext"].pop("runAsNonRoot"),
        spec["containers"][0]["securityContext"].pop("runAsNonRoot"),
    ),
    "escalation": lambda spec: spec["containers"][0]["securityContext"].pop(
        "allowPrivilegeEscalation"
    ),
    "capability": lambda spec: spec["containers"][0]["securityContext"]["capabilities"].update(
        add=["SYS_PTRACE"]
    ),
    "unconfined": lambda spec: spec["securityContext"]["seccompProfile"].update(type="Unconfined"),
    "initial container": lambda spec: spec["initContainers"].append({"name": "i"}),
    "privileged": lambda spec: spec["containers"][-1]["securityContext"].update(privileged=True),
    "host port": lambda spec: spec["containers"][0]["ports"].append({"hostPort": 1}),
}


@pytest.mark.parametrize("spoil", _SPOILT.values(), ids=_SPOILT.keys())
def test_the_check_sees_a_pod_that_is_not_restricted(
    spoil: Callable[[chart.Object], object],
) -> None:
    found = chart.only(chart.render(), "StatefulSet")
    spec = copy.deepcopy(found["spec"]["template"]["spec"])
    assert violations(spec) == []
    spoil(spec)
    assert violations(spec)


@matrix
def test_only_the_autoscaler_can_talk_to_the_api_server(
    words: tuple[str, ...],
) -> None:
    pods = list(chart.pods(chart.render(*words)))
    assert pods
    for name, pod in pods:
        tokens = {
            volume["name"]
            for volume in pod["spec"].get("volumes", [])
            for source in volume.get("projected", {}).get("sources", [])
            if "serviceAccountToken" in source
        }
        holders = {
            container["name"]
            for container in chart.containers(pod)
            for mount in container.get("volumeMounts", [])
            if mount["name"] in tokens
        }
        scaled = name.endswith("/head") and "RayCluster" in name and tokens
        assert holders == ({"autoscaler"} if scaled else set()), name


@matrix
def test_no_service_account_mounts_a_token_or_is_bound_to_more_than_reading_pods(
    words: tuple[str, ...],
) -> None:
    objects = chart.render(*words)
    for account in (each for each in objects if each["kind"] == "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    assert not [each for each in objects if each["kind"].startswith("ClusterRole")]
    for role in (each for each in objects if each["kind"] == "Role"):
        for rule in role["rules"]:
            if not rule.get("resourceNames"):
                assert set(rule["verbs"]) <= {"get", "list", "watch"}
            assert rule["resources"] in (["pods"], ["rayclusters"])


@matrix
def test_workers_get_no_secret_but_rays_own(
    words: tuple[str, ...],
) -> None:
    pods = list(chart.pods(chart.render(*words)))
    assert pods
    for name, pod in pods:
        if chart.component(pod) not in {"worker", "head", "test-redteam"}:
            continue
        for container in chart.containers(pod):
            assert "envFrom" not in container, name
            for variable in container.get("env", []):
                assert "secretKeyRef" not in variable.get("valueFrom", {}), name
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            secrets = {each["name"] for each in pod["spec"]["volumes"] if "secret" in each}
            assert not mounts & secrets or container["name"] == "certificate", name


@matrix
def test_every_volume_that_is_mounted_is_there_and_the_other_way_round(
    words: tuple[str, ...],
) -> None:
    pods = list(chart.pods(chart.render(*words)))
    assert pods
    for name, pod in pods:
        volumes = [volume["name"] for volume in pod["spec"]["volumes"]]
        assert len(volumes) == len(set(volumes)), name
        mounts = [
            mount["name"]
            for container in chart.containers(pod)
            for mount in container.get("volumeMounts", [])
        ]
        assert set(mounts) == set(volumes), name


@matrix
def test_no_pod_needs_a_shell(
    words: tuple[str, ...],
) -> None:
    pods = list(chart.pods(chart.render(*words)))
    assert pods
    for name, pod in pods:
        for container in chart.containers(pod):
            assert container["command"][0].startswith("/opt/evocodec/bin/") or (
                chart.component(pod) == "vllm"
            ), name
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert "exec" not in container.get(kind, {}), name
            for hook in container.get("lifecycle", {}).values():
                assert hook["exec"]["command"][0] == "/opt/evocodec/bin/python", name


@matrix
def test_ray_pods_keep_out_what_is_not_told_to_the_operator(
    words: tuple[str, ...],
) -> None:
    cluster = chart.only(chart.render(*words), "RayCluster")
    for group in (cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]):
        annotations = group["template"]["metadata"]["annotations"]
        assert annotations["ray.io/overwrite-container-cmd"] == "true"


@matrix
def test_a_driver_shares_with_its_node_of_ray_what_it_finds_it_by(
    words: tuple[str, ...],
) -> None:
    pods = list(chart.pods(chart.render(*words)))
    assert pods
    for name, pod in pods:
        nodes = [each for each in chart.containers(pod) if each["name"] == "ray-node"]
        # The restricted profile lets containers of a pod see each other, so none but these may.
        assert pod["spec"].get("shareProcessNamespace", False) == bool(nodes), name
        for node in nodes:
            assert node["restartPolicy"] == "Always"
            [driver] = pod["spec"]["containers"]
            places = [
                {mount["mountPath"]: mount["name"] for mount in each["volumeMounts"]}
                for each in (node, driver)
            ]
            for path in ("/tmp", "/dev/shm"):
                assert places[0][path] == places[1][path], name


@matrix
def test_what_joins_ray_breaks_silent_connections_as_the_nodes_of_the_tests_do(
    words: tuple[str, ...],
) -> None:
    joined = 0
    for name, pod in chart.pods(chart.render(*words)):
        for container in chart.containers(pod):
            found = {one["name"]: one.get("value") for one in container.get("env", ())}
            if "RAY_USAGE_STATS_ENABLED" in found:
                joined += 1
                assert found.items() >= CHART.items(), f"{name}: {container['name']}"
    assert joined >= 3  # head, workers, the controller
