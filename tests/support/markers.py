"""Which tests need what: markers of a module, derived from what it imports.

A module that imports a helper needs what the helper needs, also by way of other test modules.
"""

import ast
from functools import cache
from pathlib import Path

from tests.support.long_files import SECONDS
from tests.support.source_trees import ROOT, nodes_of

# What somebody may want to leave out: `make test MARK="not ray"`.
MARKERS = {
    "ray": "starts Ray",
    "images": "builds or runs container images; needs root, podman and buildah",
    "chaos": "kills parts of a whole run",
    "cluster": "reads or renders what is deployed to Kubernetes",
    "browser": "drives a web browser (nothing does, as long as there are no pages)",
    "slow": "stands in a module of more than a minute: tests/support/long_files.py",
}
# A module or name of a module, and what whoever imports it needs.
NEEDS = {
    "ray": {"ray"},
    "evocodec.execution.workers.ray_cluster": {"ray"},
    "evocodec.execution.engine.ray_engine": {"ray"},
    "tests.support.ray_nodes.Nodes": {"ray"},
    "tests.support.ray_nodes.ray_nodes": {"ray"},
    "tests.support.toy_laboratory.laboratory": {"ray"},
    "tests.support.container_images": {"images"},
    "tests.support.chaos_run": {"ray", "chaos"},
    "tests.support.persistent_aws": {"chaos"},
    "tests.support.chart_tools": {"cluster"},
    "tests.support.fake_kubernetes_api": {"cluster"},
    "tests.support.fake_helm_api": {"cluster"},
    "playwright": {"browser"},
}


@cache
def imported(path: Path) -> frozenset[str]:
    """Return every module, and every name of one, that a file imports anywhere in it."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def module_markers(path: Path) -> frozenset[str]:
    """Return the markers of a test module."""
    marks: set[str] = {"slow"} if path.stem in SECONDS else set()
    seen, waiting = set(), [path]
    while waiting:
        each = waiting.pop()
        seen.add(each)
        for name in imported(each):
            marks |= NEEDS.get(name, set())
            test = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if test.name.startswith("test_") and test not in seen and test.exists():
                waiting.append(test)
    return frozenset(marks)
