"""What the chart's choices do together: priorities, places, queues, scaling, secrets."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_chart_pods import EVERYTHING, MATRIX
from tests.support import chart_tools as chart


def _parts(objects: list[chart.Object]) -> dict[str, Mapping[str, Any]]:
    return {chart.component(pod): pod for _, pod in chart.pods(objects)}


def test_work_never_pushes_out_what_it_reports_to() -> None:
    objects = chart.render(*chart.settings(priorityClasses__create=True))
    classes = {
        each["metadata"]["name"]: each for each in objects if each["kind"] == "PriorityClass"
    }
    used = {part: pod["spec"].get("priorityClassName") for part, pod in _parts(objects).items()}
    assert used["controller"] == used["head"] != used["worker"]
    assert classes[used["worker"]]["value"] < classes[used["head"]]["value"]
    # A worker waits for room; it does not take it from others.
    assert classes[used["worker"]]["preemptionPolicy"] == "Never"
    assert not any(each["globalDefault"] for each in classes.values())


def test_two_releases_can_have_priorities_in_one_cluster() -> None:
    def names(namespace: str) -> set[str]:
        words = chart.settings(priorityClasses__create=True)
        objects = chart.load(chart.helm_template(*words, namespace=namespace))
        return {each["metadata"]["name"] for each in objects if each["kind"] == "PriorityClass"}

    assert not names("one") & names("two")


def test_priorities_that_exist_are_used_and_none_made() -> None:
    words = chart.settings(
        priorityClasses__controllerName="high", priorityClasses__workerName="low"
    )
    objects = chart.render(*words)
    assert not [each for each in objects if each["kind"] == "PriorityClass"]
    used = {part: pod["spec"].get("priorityClassName") for part, pod in _parts(objects).items()}
    assert (used["controller"], used["head"], used["worker"]) == ("high", "high", "low")


def test_workers_are_spread_over_zones_and_hosts_but_never_kept_from_running() -> None:
    worker = _parts(chart.render())["worker"]
    spread = worker["spec"]["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    for each in spread:
        assert each["whenUnsatisfiable"] == "ScheduleAnyway"
        wanted = each["labelSelector"]["matchLabels"].items()
        assert wanted <= worker["metadata"]["labels"].items()
        assert not wanted <= _parts(chart.render())["head"]["metadata"]["labels"].items()


def test_drains_wait_for_controller_and_head_and_for_no_worker() -> None:
    objects = chart.render()
    parts = _parts(objects)
    kept = set()
    for budget in (each for each in objects if each["kind"] == "PodDisruptionBudget"):
        wanted = budget["spec"]["selector"]["matchLabels"].items()
        kept |= {part for part, pod in parts.items() if wanted <= pod["metadata"]["labels"].items()}
        assert budget["spec"]["minAvailable"] == 1
    assert kept == {"controller", "head"}


def test_the_attacks_run_where_workers_run_and_the_run_where_the_controller_does() -> None:
    places = {"nodeSelector": {"pool": "gpu"}, "affinity": {"nodeAffinity": {}}}
    words = chart.settings(
        ray__worker=places, controller__nodeSelector={"pool": "system"}, gvisor__enabled=True
    )
    parts = _parts(chart.render(*words))
    for field in ("nodeSelector", "tolerations", "affinity", "runtimeClassName"):
        assert parts["test-redteam"]["spec"].get(field) == parts["worker"]["spec"].get(field)
    assert parts["test-redteam"]["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert parts["test-run"]["spec"]["nodeSelector"] == {"pool": "system"}


def test_the_test_s_jobs_are_confined_like_the_run_s(tmp_path: Path) -> None:
    from evocodec.config import load_settings

    objects = chart.render(*chart.profile("local"))
    [test] = _parts(objects)["test-run"]["spec"]["containers"]
    given = dict(
        word.removeprefix("--set=").split("=", 1)
        for word in test["command"]
        if word.startswith("--set=")
    )
    path = tmp_path / "evocodec.toml"
    path.write_text(chart.only(objects, "ConfigMap", "-settings")["data"]["evocodec.toml"])
    found = load_settings(file=path)
    assert given["sandbox.mode"] == found.sandbox.mode
    assert int(given["sandbox.memory_mib"]) == found.sandbox.memory_mib
    assert float(given["ray.sandboxes_per_task"]) == found.ray.sandboxes_per_task


@pytest.mark.parametrize("elastic", [True, False])
def test_kueue_admits_the_cluster_and_nothing_changes_its_size_behind_its_back(
    elastic: bool,
) -> None:
    words = chart.settings(
        kueue__enabled=True,
        kueue__queueName="gpus",
        kueue__elastic=elastic,
        ray__autoscaling__enabled=elastic,
        ray__worker__minReplicas=2,
    )
    cluster = chart.only(chart.render(*words), "RayCluster")
    assert cluster["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    marked = cluster["metadata"]["annotations"].get("kueue.x-k8s.io/elastic-job")
    assert (marked == "true") is elastic
    assert cluster["spec"]["enableInTreeAutoscaling"] is elastic
    assert cluster["spec"]["workerGroupSpecs"][0].get("replicas") == (None if elastic else 2)
    assert "suspend" not in cluster["spec"]  # Kueue's to set


def test_keda_scales_the_model_server_by_what_it_says_of_itself() -> None:
    words = (
        *chart.settings(vllm__enabled=True, vllm__model="m", vllm__replicas=3),
        *chart.settings(vllm__cache__enabled=False, vllm__keda__enabled=True),
    )
    objects = chart.render(*words)
    scaled = chart.only(objects, "ScaledObject")["spec"]
    server = chart.only(objects, "Deployment", "-vllm")
    assert scaled["scaleTargetRef"] == {"name": server["metadata"]["name"]}
    assert "replicas" not in server["spec"]  # or every upgrade would undo it
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (1, 3)
    [trigger] = scaled["triggers"]
    assert trigger["type"] == "prometheus"
    assert 'vllm:num_requests_waiting{namespace="evo"}' in trigger["metadata"]["query"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_the_secret_that_is_fetched_is_the_one_that_the_controller_reads() -> None:
    objects = chart.render(*EVERYTHING)
    fetched = chart.only(objects, "ExternalSecret")["spec"]
    [controller] = _parts(objects)["controller"]["spec"]["containers"]
    assert controller["envFrom"] == [{"secretRef": {"name": fetched["target"]["name"]}}]
    assert fetched["secretStoreRef"] == {"name": "vault", "kind": "SecretStore"}
    assert fetched["data"] == [
        {"secretKey": "EVOCODEC_MODEL__API_KEY", "remoteRef": {"key": "evocodec"}}
    ]


def test_tls_is_on_for_every_process_of_ray_or_for_none() -> None:
    for name, words in MATRIX.items():
        on = set()
        for _, pod in chart.pods(chart.render(*words)):
            for container in chart.containers(pod):
                if "/opt/evocodec/bin/ray" not in container.get("command", []):
                    continue
                names = {each["name"] for each in container["env"]}
                on.add("RAY_USE_TLS" in names)
                mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
                assert ("/etc/evocodec/tls" in mounted) == ("RAY_USE_TLS" in names), name
        assert on == {name in {"large", "everything"}}, name


def test_no_candidate_s_pod_can_read_settings_or_versions() -> None:
    for words in MATRIX.values():
        for part, pod in _parts(chart.render(*words)).items():
            text = json.dumps(pod["spec"]["volumes"])
            if part in {"worker", "head", "test-redteam"}:
                assert "-settings" not in text
                assert "persistentVolumeClaim" not in text
