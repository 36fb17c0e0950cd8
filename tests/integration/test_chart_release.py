"""The life of a release, by the real Helm: installed, upgraded, rolled back, removed, restored."""

from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from evocodec import __version__
from tests.support import chart_tools as chart
from tests.support.fake_helm_api import ReleaseServer, release_server

Helm = Callable[..., "CompletedProcess[str]"]
CLAIM = ("PersistentVolumeClaim", "lab-evocodec-data")
AUTHORITY = ("Secret", "lab-evocodec-ray-authority")
LARGE = chart.profile("large")


@pytest.fixture
def server() -> Iterator[ReleaseServer]:
    with release_server() as found:
        yield found


@pytest.fixture
def helm(server: ReleaseServer, tmp_path: Path) -> Helm:
    kubeconfig = server.write_kubeconfig(tmp_path / "config")

    def run(verb: str, *words: str) -> "CompletedProcess[str]":
        if verb in {"install", "upgrade"}:
            words = (str(chart.CHART), *words, "--disable-openapi-validation")
        place = ("--kubeconfig", str(kubeconfig), "--namespace", "evo")
        return chart.run("helm", verb, "lab", *words, *place)

    return run


def ok(done: "CompletedProcess[str]") -> None:
    assert done.returncode == 0, done.stderr


def kept(server: ReleaseServer) -> list[object]:
    found = [server.get(*CLAIM), server.get(*AUTHORITY)]
    assert all(found)
    return [(each["metadata"]["uid"], each.get("data")) for each in found if each]


def test_data_and_authority_are_the_same_ones_through_the_whole_life_of_a_release(
    server: ReleaseServer, helm: Helm
) -> None:
    ok(helm("install", *LARGE))
    before = kept(server)
    ok(helm("upgrade", *LARGE, "--set", "image.sandbox.tag=v2,controller.settings.run.seed=7"))
    cluster = server.get("RayCluster", "lab-evocodec")
    assert cluster
    head = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert head["image"] == "evocodec-sandbox:v2"
    # Or KubeRay would go on with the pods that it has.
    assert cluster["spec"]["upgradeStrategy"] == {"type": "Recreate"}
    assert kept(server) == before
    ok(helm("rollback", "1"))
    cluster = server.get("RayCluster", "lab-evocodec")
    assert cluster
    assert f"evocodec-sandbox:{__version__}" in str(cluster)
    assert kept(server) == before
    ok(helm("uninstall"))
    assert {(each["kind"], each["metadata"]["name"]) for each in server.objects.values()} == {
        CLAIM,
        AUTHORITY,
    }
    ok(helm("install", *LARGE))
    assert kept(server) == before


def test_profiles_can_follow_each_other_while_the_volume_grows(
    server: ReleaseServer, helm: Helm
) -> None:
    ok(helm("install", *chart.profile("small")))
    claim = server.get(*CLAIM)
    ok(helm("upgrade"))
    ok(helm("upgrade", *LARGE))
    grown = server.get(*CLAIM)
    assert claim
    assert grown
    assert grown["metadata"]["uid"] == claim["metadata"]["uid"]
    assert grown["spec"]["resources"]["requests"]["storage"] == "500Gi"
    # What only the large one has goes with it.
    ok(helm("upgrade", "--set", "controller.persistence.size=500Gi"))
    assert not {"PriorityClass", "PrometheusRule", "ServiceMonitor"} & server.kinds()
    assert server.get(*AUTHORITY)


def test_a_volume_that_has_grown_stops_a_rollback_and_an_upgrade_goes_back_instead(
    server: ReleaseServer, helm: Helm
) -> None:
    larger = ("--set", "controller.persistence.size=80Gi")
    ok(helm("install"))
    ok(helm("upgrade", *larger, "--set", "image.controller.tag=v2"))
    before = server.get(*CLAIM)
    refused = helm("rollback", "1")
    assert refused.returncode != 0
    assert "lab-evocodec-data" in refused.stderr
    assert server.get(*CLAIM) == before
    ok(helm("upgrade", *larger))
    controller = server.get("StatefulSet", "lab-evocodec-controller")
    assert f"evocodec-controller:{__version__}" in str(controller)


def test_another_storage_class_is_refused_and_other_changes_are_not(
    server: ReleaseServer, helm: Helm
) -> None:
    ok(helm("install"))
    refused = helm("upgrade", "--set", "controller.persistence.storageClass=other")
    assert refused.returncode != 0
    assert "storageClassName" in refused.stderr
    ok(helm("upgrade", "--set", "nameOverride=,ray.worker.maxReplicas=9,controller.mode=idle"))
