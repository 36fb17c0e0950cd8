"""What the chart renders, against the API schemas of three Kubernetes versions and the CRDs."""

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema.protocols import Validator

from tests.integration.test_chart_pods import MATRIX, matrix
from tests.support import chart_tools as chart

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="kubernetes-validate is not installed: no API schemas"
)
VERSIONS = ("1.30", "1.34", "1.37")
# Checked where the folder has a definition of them.
_OTHERS = {"ExternalSecret", "ScaledObject"}


@pytest.fixture(autouse=True, scope="module")
def _read_schemas_once() -> Iterator[None]:
    """The package reads a megabyte of definitions anew for every object."""
    with pytest.MonkeyPatch.context() as patch:
        utils = kubernetes_validate.utils
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


@functools.cache
def _validator(path: Path, version: str) -> Validator:
    [definition] = chart.load(path.read_text())
    [schema] = (
        each["schema"]["openAPIV3Schema"]
        for each in definition["spec"]["versions"]
        if each["name"] == version
    )
    return jsonschema.Draft202012Validator(_strict(schema))


def _strict(schema: Any) -> Any:
    """Refuse unknown fields, as the API server does when asked for strict validation."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(value) for key, value in schema.items()}
    if found.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    if isinstance(found.get("properties"), dict) and "additionalProperties" not in found:
        found["additionalProperties"] = bool(found.get("x-kubernetes-preserve-unknown-fields"))
    return found


def _definition(found: chart.Object) -> tuple[Path, str] | None:
    folder = Path(os.environ.get("EVOCODEC_CRDS", chart.ROOT.parent / "shared" / "crds"))
    group, _, version = found["apiVersion"].rpartition("/")
    path = folder / f"{group}_{found['kind'].lower()}s.yaml"
    return (path, version) if path.is_file() else None


def _problems(found: chart.Object, path: Path, version: str) -> list[str]:
    # The schema knows metadata only as an object, and names no fields of it.
    bare = found | {"metadata": {}}
    return [
        f"{error.json_path}: {error.message}"
        for error in _validator(path, version).iter_errors(bare)
    ]


@pytest.mark.parametrize("version", VERSIONS)
@matrix
def test_the_api_takes_every_object(words: tuple[str, ...], version: str) -> None:
    custom = 0
    for found in chart.render(*words):
        if _definition(found) or found["kind"] in _OTHERS | {"RayCluster"} or _of_monitoring(found):
            custom += 1
            continue
        _take(json.dumps(found, sort_keys=True), version)
    assert custom


@functools.cache
def _take(found: str, version: str) -> None:
    """Check an object once, however many profiles render the same."""
    kubernetes_validate.validate(json.loads(found), version, strict=True)


def _of_monitoring(found: chart.Object) -> bool:
    return found["apiVersion"].startswith("monitoring.coreos.com/")


@matrix
def test_operators_take_their_objects(words: tuple[str, ...]) -> None:
    custom = [
        each
        for each in chart.render(*words)
        if each["kind"] in _OTHERS | {"RayCluster"} or _of_monitoring(each)
    ]
    checked = [(each, _definition(each)) for each in custom]
    if not any(where for _, where in checked):
        pytest.skip("no custom resource definitions: set EVOCODEC_CRDS to their folder")
    assert checked
    for found, where in checked:
        if where is None:
            assert found["kind"] in _OTHERS, f"no definition of {found['kind']}"
            continue
        assert _problems(found, *where) == [], found["metadata"]["name"]


def test_pods_of_the_ray_cluster_are_pods_to_every_version() -> None:
    pods = list(chart.pods(chart.render(*MATRIX["everything"])))
    assert pods
    for name, pod in pods:
        whole = {"apiVersion": "v1", "kind": "Pod"} | pod | {"metadata": {"name": "p"}}
        for version in VERSIONS:
            kubernetes_validate.validate(whole, version, strict=True)
        assert name


def test_a_misspelt_field_of_a_ray_cluster_is_seen() -> None:
    cluster = chart.only(chart.render(), "RayCluster")
    where = _definition(cluster)
    if where is None:
        pytest.skip("no custom resource definitions: set EVOCODEC_CRDS to their folder")
    group = cluster["spec"]["workerGroupSpecs"][0]
    spoilt = cluster | {"spec": cluster["spec"] | {"workerGroupSpecs": [group | {"minReplica": 1}]}}
    assert _problems(cluster, *where) == []
    assert any("minReplica" in problem for problem in _problems(spoilt, *where))


def test_names_fit_where_they_are_used() -> None:
    objects = chart.load(chart.helm_template(release="r" * 53, namespace="n" * 63))
    assert objects
    for found in objects:
        name = found["metadata"]["name"]
        limit = 52 if found["kind"] in {"StatefulSet", "RayCluster"} else 63
        if found["kind"] in {"Service", "RayCluster", "StatefulSet", "Pod"}:
            assert len(name) <= limit, name
        for value in found["metadata"]["labels"].values():
            assert len(str(value)) <= 63, value
