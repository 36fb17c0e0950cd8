"""Write k8s/ from the chart: python -m tools.render_kustomize

The base is what the chart renders with its defaults; overlays and components are patches that make
of it what the chart renders with other values. So there is one description, for people with Helm
and without.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from tools.fetch_kubernetes_tools import FetchError, fetch, folder

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "evocodec"
NAME = "evocodec"
Object: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str, str]

# Words of `helm template` for what is made of the base.
COMPONENTS: dict[str, tuple[str, ...]] = {
    "gvisor": ("--set", "gvisor.enabled=true"),
    "openshift": ("--set", "seccompProfile.enabled=false"),
    "monitoring": tuple(
        word
        for part in ("serviceMonitor", "prometheusRule", "dashboards")
        for word in ("--set", f"metrics.{part}.enabled=true")
    ),
}
# Each with its values-*.yaml. kustomize cannot make an authority for TLS, and names one.
PROFILES: dict[str, tuple[str, ...]] = {
    "local": (),
    "small": (),
    "large": ("--set", "ray.tls.existingSecret=evocodec-ray-authority"),
}
# The profile whose monitors, alerts and dashboards are the component's.
WATCHED = "large"
# Kustomize makes these of the chart's own files, by a kustomization.yaml beside them.
DASHBOARDS = "helm/evocodec/dashboards"
_HELMS = ("helm.sh/chart", "app.kubernetes.io/managed-by", "helm.sh/resource-policy")
_OVERLAY = ("kustomize.config.k8s.io/v1beta1", "Kustomization")
_COMPONENT = ("kustomize.config.k8s.io/v1alpha1", "Component")
_FILE = "# Made from helm/evocodec by tools/render_kustomize.py: change it there.\n"


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes texts of several lines as they are, and the same object twice."""

    def ignore_aliases(self, data: object) -> bool:
        """Write no anchors."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def render(helm: Path, *words: str) -> dict[str, list[Object]]:
    """Return the objects of each template, without what only Helm uses."""
    command = [str(helm), "template", NAME, str(CHART), "--namespace", NAME, "--skip-tests"]
    command += ["--kube-version", "1.35.0", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, list[Object]] = {}
    for part in done.stdout.split("\n---\n"):
        source = part.partition("# Source: ")[2].splitlines()
        each = yaml.safe_load(part)
        if source and each:
            found.setdefault(Path(source[0]).stem, []).append(_plain(each))
    return found


def _plain(each: Object) -> Object:
    stack: list[Any] = [each]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            for kind in ("labels", "annotations"):
                if isinstance(node.get(kind), dict):
                    node[kind] = {k: v for k, v in node[kind].items() if k not in _HELMS}
                    if not node[kind]:
                        del node[kind]
            stack += node.values()
        elif isinstance(node, list):
            stack += node
    return each


def key(each: Object) -> Key:
    """Return the identity of an object."""
    return each["apiVersion"], each["kind"], each["metadata"]["name"]


def difference(old: Any, new: Any, path: str = "") -> list[Object]:
    """Return the JSON patch (RFC 6902) that makes ``new`` of ``old``."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in sorted(old.keys() | new.keys()):
            where = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in new:
                found.append({"op": "remove", "path": where})
            elif name not in old:
                found.append({"op": "add", "path": where, "value": new[name]})
            else:
                found += difference(old[name], new[name], where)
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [each for place, (a, b) in pairs for each in difference(a, b, f"{path}/{place}")]
    return [] if old == new else [{"op": "replace", "path": path, "value": new}]


def words(profile: str) -> tuple[str, ...]:
    """Return the words of ``helm template`` for one of the chart's profiles."""
    return ("--values", str(CHART / f"values-{profile}.yaml"), *PROFILES[profile])


def write(helm: Path, target: Path) -> None:
    """Write base, components and overlays below ``target``."""
    base = render(helm)
    folder = _empty(target / "base", keep=("namespace.yaml",))
    for name, objects in base.items():
        _dump_all(folder / f"{name}.yaml", objects)
    resources = ["namespace.yaml", *(f"{name}.yaml" for name in sorted(base))]
    _dump(folder / "kustomization.yaml", _kustomization(namespace=NAME, resources=resources))
    before = _by_key(base)
    made = {name: _by_key(render(helm, *given)) for name, given in COMPONENTS.items()}
    for name, after in made.items():
        found = _changes(_empty(target / "components" / name), before, after)
        _dump(
            target / "components" / name / "kustomization.yaml", _kustomization(*_COMPONENT) | found
        )
        used: Object = {"resources": ["../../base"], "components": [f"../../components/{name}"]}
        folder = _empty(target / "overlays" / name)
        _dump(folder / "kustomization.yaml", _kustomization(namespace=NAME, **used))
    for name in PROFILES:
        parts = ["monitoring"] if name == WATCHED else []
        start = before | {key: each for part in parts for key, each in made[part].items()}
        folder = _empty(target / "overlays" / name)
        found = _changes(folder, start, _by_key(render(helm, *words(name))))
        used = {"resources": ["../../base", *found.pop("resources", [])]}
        if parts:
            used["components"] = [f"../../components/{part}" for part in parts]
        _dump(folder / "kustomization.yaml", _kustomization(namespace=NAME, **used) | found)


def _by_key(rendered: dict[str, list[Object]]) -> dict[Key, Object]:
    return {key(each): each for objects in rendered.values() for each in objects}


def _changes(folder: Path, before: dict[Key, Object], after: dict[Key, Object]) -> Object:
    """Return what a kustomization must say to make ``after``; new objects go to a file."""
    patches: list[Object] = []
    for each, old in before.items():
        version, kind, name = each
        if each not in after:
            gone = {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
            patches.append({"patch": _yaml({"$patch": "delete"} | gone)})
        elif changes := difference(old, after[each]):
            group, _, version = version.rpartition("/")
            target = {"group": group, "version": version, "kind": kind, "name": name}
            target = {key: value for key, value in target.items() if value}
            patches.append({"target": target, "patch": _yaml(changes)})
    more = [value for each, value in after.items() if each not in before]
    plain = [each for each in more if "-dashboard-" not in each["metadata"]["name"]]
    resources = []
    if plain:
        _dump_all(folder / "more.yaml", plain)
        resources.append("more.yaml")
    if plain != more:
        resources.append(f"../../../{DASHBOARDS}")
    found = {"resources": resources, "patches": patches}
    return {key: value for key, value in found.items() if value}


def _kustomization(version: str = _OVERLAY[0], kind: str = _OVERLAY[1], **fields: object) -> Object:
    return {"apiVersion": version, "kind": kind} | fields


def _empty(folder: Path, keep: tuple[str, ...] = ()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in keep:
            path.unlink()
    return folder


def _yaml(value: object) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return text


def _dump(path: Path, value: object) -> None:
    path.write_text(_FILE + _yaml(value), encoding="utf-8")


def _dump_all(path: Path, values: list[Object]) -> None:
    path.write_text(_FILE + "---\n".join(_yaml(value) for value in values), encoding="utf-8")


def main() -> int:
    """Write k8s/ anew."""
    try:
        helm = fetch(folder())["helm"]
    except FetchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with tempfile.TemporaryDirectory() as name:
        # Whole or not at all.
        fresh = Path(name) / "k8s"
        shutil.copytree(ROOT / "k8s", fresh)
        write(helm, fresh)
        shutil.rmtree(ROOT / "k8s")
        shutil.copytree(fresh, ROOT / "k8s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
