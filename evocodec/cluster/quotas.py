"""Quota check: do the chart's requests fit into the namespace's quotas and limit ranges?"""

from collections.abc import Iterator
from typing import Final

from evocodec.cluster.api import ClusterApi, Json
from evocodec.cluster.facts import GPU
from evocodec.cluster.quantities import quantity
from evocodec.domain.check import Check

# What the chart's values ask for: controller and its Ray node, head and autoscaler, one worker.
WORKER_CPUS: Final = 8.0
WORKER_MEMORY_BYTES: Final = 32 * 2.0**30
TOTAL_CPUS: Final = 2.25 + 1.25 + WORKER_CPUS
TOTAL_MEMORY_BYTES: Final = (5 + 4.5) * 2.0**30 + WORKER_MEMORY_BYTES
TOTAL_MEMORY_LIMIT_BYTES: Final = (11 + 5) * 2.0**30 + WORKER_MEMORY_BYTES


def quotas(api: ClusterApi, namespace: str) -> Iterator[Check]:
    """Check that the requests of the chart fit into quotas and limit ranges."""
    problems: list[str] = []
    seen: list[str] = []
    ranges = list(api.items(f"/api/v1/namespaces/{namespace}/limitranges"))
    for quota in api.items(f"/api/v1/namespaces/{namespace}/resourcequotas"):
        seen.append(_name(quota))
        problems += _tight_quota(quota)
        problems += _unlimited(quota, ranges)
    for limits in ranges:
        seen.append(_name(limits))
        problems += _tight_range(limits)
    if problems:
        yield Check(
            "quotas",
            "fail",
            "; ".join(problems),
            "have them changed, or ask for less: ray.worker.cpus, memory, gpus",
        )
    elif seen:
        yield Check("quotas", "ok", f"{', '.join(seen)} leave room for one worker")
    else:
        yield Check("quotas", "ok", "no quotas or limit ranges")


def _tight_quota(quota: Json) -> Iterator[str]:
    hard, used = _state(quota)
    needs = {
        "requests.cpu": TOTAL_CPUS,
        "cpu": TOTAL_CPUS,
        "requests.memory": TOTAL_MEMORY_BYTES,
        "memory": TOTAL_MEMORY_BYTES,
        "limits.memory": TOTAL_MEMORY_LIMIT_BYTES,
        f"requests.{GPU}": 1.0,
        "pods": 3.0,
        "persistentvolumeclaims": 1.0,
    }
    for name, need in needs.items():
        if name in hard and quantity(hard[name]) - quantity(used.get(name, 0)) < need:
            yield (
                f"quota {_name(quota)} leaves too little {name}: "
                f"{used.get(name, 0)} of {hard[name]} used, {_text(name, need)} needed"
            )


def _unlimited(quota: Json, ranges: list[Json]) -> Iterator[str]:
    """Return whether a quota of ``limits.cpu`` would refuse pods that set no such limit."""
    hard, _used = _state(quota)
    defaults = [
        entry
        for limits in ranges
        for entry in (limits.get("spec") or {}).get("limits") or []
        if entry.get("type") == "Container" and "cpu" in (entry.get("default") or {})
    ]
    if "limits.cpu" in hard and not defaults:
        yield (
            f"quota {_name(quota)} counts limits.cpu, so pods without that limit are refused, "
            "and the controller has none: add a LimitRange with a default for cpu"
        )


def _tight_range(limits: Json) -> Iterator[str]:
    for entry in (limits.get("spec") or {}).get("limits") or []:
        if entry.get("type") not in {"Container", "Pod"}:
            continue
        most = entry.get("max") or {}
        for name, need in (("cpu", WORKER_CPUS), ("memory", WORKER_MEMORY_BYTES)):
            if name in most and quantity(most[name]) < need:
                yield (
                    f"limit range {_name(limits)} allows a {str(entry['type']).lower()} "
                    f"{most[name]} of {name}, a worker asks for {_text(name, need)}"
                )


def _state(quota: Json) -> tuple[Json, Json]:
    status = quota.get("status") or {}
    return status.get("hard") or (quota.get("spec") or {}).get("hard") or {}, (
        status.get("used") or {}
    )


def _text(name: str, need: float) -> str:
    return f"{need / 2**30:.0f}Gi" if name.endswith("memory") else f"{need:g}"


def _name(item: Json) -> str:
    return str((item.get("metadata") or {}).get("name"))
