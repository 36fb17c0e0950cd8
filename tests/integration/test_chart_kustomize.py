"""k8s/: what kubectl makes of it is what the chart renders, restricted and closed like that."""

import functools
import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support import chart_tools as chart
from tests.support.pod_security import stricter, violations
from tools import render_kustomize

K8S = chart.ROOT / "k8s"
WORDS = (
    {"base": ()}
    | {f"overlays/{name}": words for name, words in render_kustomize.COMPONENTS.items()}
    | {f"overlays/{name}": render_kustomize.words(name) for name in render_kustomize.PROFILES}
)
everywhere = pytest.mark.parametrize("folder", WORDS)


@functools.cache
def _built(folder: str) -> str:
    done = chart.run("kubectl", "kustomize", str(K8S / folder))
    assert done.returncode == 0, done.stderr
    return done.stdout


def _by_key(objects: list[chart.Object]) -> dict[tuple[str, str, str], chart.Object]:
    return {render_kustomize.key(each): each for each in objects}


@everywhere
def test_kubectl_makes_of_it_what_helm_makes_of_the_chart(folder: str) -> None:
    built = _by_key(chart.load(_built(folder)))
    namespace = built.pop(("v1", "Namespace", "evocodec"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    rendered = render_kustomize.render(chart.program("helm"), *WORDS[folder])
    wanted = _by_key([each for objects in rendered.values() for each in objects])
    assert built.keys() == wanted.keys()
    for each, found in built.items():
        if each[1] not in {"PriorityClass", "RuntimeClass"}:
            assert found["metadata"].pop("namespace") == "evocodec", each
        wanted[each]["metadata"].pop("namespace", None)
        if "-dashboard-" in each[2]:  # Helm's template ends without a newline, the file with one
            found["data"] = {name: text.rstrip("\n") for name, text in found["data"].items()}
        assert found == wanted[each], each


@everywhere
def test_its_pods_are_restricted(folder: str) -> None:
    pods = list(chart.pods(chart.load(_built(folder))))
    assert len(pods) == 3
    for name, pod in pods:
        found = violations(pod["spec"])
        if folder == "overlays/openshift":  # which says the profile itself
            found = [each for each in found if not each.endswith("seccomp profile None")]
        assert found == [], name
        assert stricter(pod["spec"]) == [], name


@everywhere
def test_every_pod_is_denied_by_default(folder: str) -> None:
    objects = chart.load(_built(folder))
    deny = chart.only(objects, "NetworkPolicy", "-deny")["spec"]
    wanted = deny["podSelector"]["matchLabels"].items()
    pods = list(chart.pods(objects))
    assert pods
    for name, pod in pods:
        assert wanted <= pod["metadata"]["labels"].items(), name


def test_it_is_what_the_chart_makes_today(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    kept = (K8S / "base" / "namespace.yaml").read_text(encoding="utf-8")
    (tmp_path / "base" / "namespace.yaml").write_text(kept, encoding="utf-8")
    render_kustomize.write(chart.program("helm"), tmp_path)

    def files(root: Path) -> dict[str, str]:
        return {
            str(path.relative_to(root)): path.read_text(encoding="utf-8")
            for part in ("base", "components", "overlays")
            for path in sorted((root / part).rglob("*.yaml"))
        }

    assert files(tmp_path) == files(K8S), "python -m tools.render_kustomize"


def test_who_has_no_helm_gets_the_alerts_and_every_dashboard_too() -> None:
    alerts = yaml.safe_load((chart.CHART / "alerts" / "evocodec.rules.yaml").read_text())
    boards = {path.name: path.read_text() for path in (chart.CHART / "dashboards").glob("*.json")}
    assert boards
    for folder in ("overlays/monitoring", "overlays/large"):
        objects = chart.load(_built(folder))
        assert chart.only(objects, "PrometheusRule")["spec"] == alerts
        found = [each for each in objects if "-dashboard-" in each["metadata"]["name"]]
        assert {name: text for each in found for name, text in each["data"].items()} == boards
        assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in found)


@pytest.mark.parametrize("name", ["small", "local"])
def test_components_go_with_every_overlay(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "a" / "b" / "mine"
    mine.mkdir(parents=True)
    root = Path(os.path.relpath(K8S, mine.resolve()))
    parts = "".join(f"  - {root}/components/{part}\n" for part in render_kustomize.COMPONENTS)
    text = f"resources: [{root}/overlays/{name}]\ncomponents:\n{parts}"
    (mine / "kustomization.yaml").write_text(text, encoding="utf-8")
    done = chart.run("kubectl", "kustomize", str(mine))
    assert done.returncode == 0, done.stderr
    built = _by_key(chart.load(done.stdout))
    rendered = render_kustomize.render(
        chart.program("helm"),
        *render_kustomize.words(name),
        *(word for given in render_kustomize.COMPONENTS.values() for word in given),
    )
    wanted = _by_key([each for objects in rendered.values() for each in objects])
    assert built.keys() - wanted.keys() == {("v1", "Namespace", "evocodec")}
    assert wanted.keys() <= built.keys()
    cluster = ("ray.io/v1", "RayCluster", "evocodec")
    assert built[cluster]["spec"] == wanted[cluster]["spec"]


def test_a_difference_is_told_as_the_patch_that_makes_it() -> None:
    old = {"a": [{"b/c": 1}, 2], "gone": 1, "same": 3}
    new = {"a": [{"b/c": 4}, 2], "more": [5], "same": 3}
    assert render_kustomize.difference(old, new) == [
        {"op": "replace", "path": "/a/0/b~1c", "value": 4},
        {"op": "remove", "path": "/gone"},
        {"op": "add", "path": "/more", "value": [5]},
    ]
    assert render_kustomize.difference([1], [1, 2]) == [
        {"op": "replace", "path": "", "value": [1, 2]}
    ]


def test_images_can_be_replaced_in_the_ray_cluster_too(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    shutil.copytree(chart.CHART / "dashboards", tmp_path / render_kustomize.DASHBOARDS)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(
        "resources: [../k8s/overlays/large]\n"
        "configurations: [../k8s/images.yaml]\n"
        "images:\n"
        "  - {name: evocodec-controller, newName: registry.example.com/c, newTag: '2'}\n"
        "  - {name: evocodec-sandbox, newName: registry.example.com/s, newTag: '2'}\n",
        encoding="utf-8",
    )
    done = chart.run("kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", str(mine))
    assert done.returncode == 0, done.stderr
    for name, pod in chart.pods(chart.load(done.stdout)):
        for container in chart.containers(pod):
            image = container.get(
                "image", "registry.example.com/"
            )  # the autoscaler's is the head's
            assert image.startswith("registry.example.com/"), (name, container["name"])
