"""What the tests of helm/ and k8s/ share: the real programs, rendered objects, a pod's parts."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from tools import fetch_kubernetes_tools as kubernetes

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "evocodec"
Object: TypeAlias = dict[str, Any]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_VERSION = ("--kube-version", "1.35.0")


@functools.cache
def _programs() -> dict[str, Path] | str:
    try:
        return kubernetes.fetch(kubernetes.folder(), seconds=180.0)
    except kubernetes.FetchError as error:
        found = {name: shutil.which(name) for name in kubernetes.PROGRAMS}
        if all(found.values()):
            return {name: Path(path) for name, path in found.items() if path}
        return str(error)


def program(name: str) -> Path:
    """Return helm or kubectl, or skip with the reason why there is none."""
    programs = _programs()
    if isinstance(programs, str):
        pytest.skip(f"no {name}: {programs}")
    return programs[name]


def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run helm or kubectl with no cluster and no settings of the user's."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "KUBECONFIG": os.devnull}
    command = [str(program(name)), *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def load(text: str) -> list[Object]:
    """Read the objects of a stream of YAML."""
    return [document for document in yaml.load_all(text, Loader=_LOADER) if document]


def helm_template(*words: str, release: str = "lab", namespace: str = "evo") -> str:
    """Render the chart, hooks included, and return the YAML."""
    done = run("helm", "template", release, str(CHART), "--namespace", namespace, *_VERSION, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def _rendered(words: tuple[str, ...]) -> str:
    return helm_template(*words)


def render(*words: str) -> list[Object]:
    """Render the chart with these words of ``helm template``."""
    return load(_rendered(words))


def refusal(*words: str) -> str:
    """Return why helm refuses to render the chart with these words."""
    done = run("helm", "template", "lab", str(CHART), *_VERSION, *words)
    assert done.returncode != 0, "the chart took these values"
    return done.stderr


def profile(name: str) -> tuple[str, str]:
    """Return the words that choose one of the chart's profiles."""
    return ("--values", str(CHART / f"values-{name}.yaml"))


def settings(**values: object) -> tuple[str, ...]:
    """Return the words that set dotted values, given with ``__`` for the dots."""
    pairs = [f"{name.replace('__', '.')}={_word(value)}" for name, value in values.items()]
    return ("--set-json", ",".join(pairs))


def _word(value: object) -> str:
    import json

    return json.dumps(value)


def only(objects: list[Object], kind: str, suffix: str = "") -> Object:
    """Return the one object of a kind whose name ends so."""
    found = [
        found
        for found in objects
        if found["kind"] == kind and found["metadata"]["name"].endswith(suffix)
    ]
    assert len(found) == 1, [found["metadata"]["name"] for found in found]
    return found[0]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield every pod that the objects lead to, as (name, pod template)."""
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        spec = found.get("spec", {})
        if found["kind"] == "Pod":
            yield name, found
        elif found["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job"}:
            yield name, spec["template"]
        elif found["kind"] == "RayCluster":
            yield f"{name}/head", _with_autoscaler(spec)
            for group in spec["workerGroupSpecs"]:
                yield f"{name}/{group['groupName']}", group["template"]


def _with_autoscaler(spec: Object) -> Object:
    """KubeRay adds the autoscaler to the head with the options that it is given."""
    head: Object = spec["headGroupSpec"]["template"]
    if not spec.get("enableInTreeAutoscaling"):
        return head
    options = spec["autoscalerOptions"]
    shared = ("securityContext", "command", "args", "env", "volumeMounts", "resources")
    sidecar = {"name": "autoscaler"} | {key: options[key] for key in shared if key in options}
    containers = [*head["spec"]["containers"], sidecar]
    return head | {"spec": head["spec"] | {"containers": containers}}


def containers(pod: Mapping[str, Any]) -> list[Object]:
    """Return all containers of a pod, the initial ones first."""
    spec = pod["spec"]
    return [*(spec.get("initContainers") or []), *spec["containers"]]


def component(pod: Mapping[str, Any]) -> str:
    """Return what part of Evocodec a pod is."""
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])
