"""Which connections NetworkPolicies let through, worked out as their specification says."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod, or, without labels, an address outside."""

    name: str
    labels: Mapping[str, str] | None = None
    namespace: str = ""
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)  # by name


def allowed(source: End, target: End, port: int, protocol: str, policies: list[Object]) -> bool:
    """Return whether both ends' policies let a connection through."""
    out = _side(source, target, target, port, protocol, policies, "Egress")
    return out and _side(target, source, target, port, protocol, policies, "Ingress")


def _side(
    subject: End,
    peer: End,
    target: End,
    port: int,
    protocol: str,
    policies: list[Object],
    direction: str,
) -> bool:
    if subject.labels is None:
        return True
    rules: list[Object] = []
    isolated = False
    for policy in policies:
        spec = policy["spec"]
        if policy["metadata"].get("namespace", subject.namespace) != subject.namespace:
            continue
        if not _selects(spec["podSelector"], subject.labels):
            continue
        if direction in spec["policyTypes"]:
            isolated = True
            rules += spec.get(direction.lower()) or []
    if not isolated:
        return True
    where = "to" if direction == "Egress" else "from"
    return any(
        _peers(rule.get(where), peer, subject.namespace)
        and _ports(rule.get("ports"), target, port, protocol)
        for rule in rules
    )


def _peers(peers: Iterable[Object] | None, end: End, namespace: str) -> bool:
    if not peers:  # none or an empty list: everybody
        return True
    return any(_peer(peer, end, namespace) for peer in peers)


def _peer(peer: Object, end: End, namespace: str) -> bool:
    if "ipBlock" in peer:
        if not end.address:
            return False
        address = ipaddress.ip_address(end.address)
        block = peer["ipBlock"]
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(hole) for hole in block.get("except", [])
        )
    if end.labels is None:
        return False
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], end.namespace_labels):
            return False
    elif end.namespace != namespace:
        return False
    return _selects(peer.get("podSelector", {}), end.labels)


def _ports(ports: Iterable[Object] | None, target: End, port: int, protocol: str) -> bool:
    if not ports:
        return True
    for rule in ports:
        if rule.get("protocol", "TCP") != protocol:
            continue
        if "port" not in rule:
            return True
        first = rule["port"]
        if isinstance(first, str):
            first = target.ports.get(first, -1)
        last = rule.get("endPort")
        if first <= port <= (first if last is None else last):
            return True
    return False


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_matches(rule, labels) for rule in selector.get("matchExpressions") or [])


def _matches(rule: Object, labels: Mapping[str, str]) -> bool:
    value = labels.get(rule["key"])
    match rule["operator"]:
        case "In":
            return value in rule["values"]
        case "NotIn":
            return value not in rule["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise AssertionError(rule)
