"""The restricted Pod Security profile as a function: what a pod does that it forbids.

Source: the Pod Security Standards of the Kubernetes documentation, baseline and restricted. Beyond
them, ``stricter`` asks for what this project promises of its own pods.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}


def violations(spec: Object) -> list[str]:
    """Return what of a pod's spec the restricted profile forbids."""
    return [*_of_pod(spec), *(found for each in _containers(spec) for found in _of(spec, each))]


def stricter(spec: Object) -> list[str]:
    """Return what a pod of ours must not lack, though the profile would let it."""
    found = []
    if spec.get("automountServiceAccountToken") is not False:
        found.append("a service account's token is mounted")
    if spec.get("enableServiceLinks") is not False:
        found.append("the services' addresses are in the environment")
    for container in _containers(spec):
        name = container["name"]
        if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
            found.append(f"{name}: the root file system can be written")
        resources = container.get("resources", {})
        if "memory" not in resources.get("limits", {}):
            found.append(f"{name}: memory without limit")
        if not {"cpu", "memory"} <= set(resources.get("requests", {})):
            found.append(f"{name}: no request")
    found += [
        f"volume {volume['name']} may grow without limit"
        for volume in spec.get("volumes", [])
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {})
    ]
    return found


def _containers(spec: Object) -> list[Object]:
    return [
        container
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(kind) or []
    ]


def _of_pod(spec: Object) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= _VOLUMES:
            yield f"volume {volume['name']} is of {sorted(kinds)}"
    context = spec.get("securityContext", {})
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    if context.get("runAsUser") == 0:
        yield "the pod runs as root"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess"


def _of(spec: Object, container: Object) -> Iterator[str]:
    name = container["name"]
    context = container.get("securityContext", {})
    pod = spec.get("securityContext", {})
    if context.get("privileged"):
        yield f"{name}: privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: may escalate"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield f"{name}: keeps capabilities"
    if not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}:
        yield f"{name}: adds capabilities"
    if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield f"{name}: may be root"
    if context.get("runAsUser") == 0:
        yield f"{name}: is root"
    profile = context.get("seccompProfile", pod.get("seccompProfile", {})).get("type")
    if profile not in {"RuntimeDefault", "Localhost"}:
        yield f"{name}: seccomp profile {profile}"
    armour = context.get("appArmorProfile", pod.get("appArmorProfile", {})).get("type")
    if armour == "Unconfined":
        yield f"{name}: no AppArmor"
    if context.get("procMount", "Default") != "Default":
        yield f"{name}: procMount"
    if context.get("seLinuxOptions", pod.get("seLinuxOptions", {})).keys() & {"user", "role"}:
        yield f"{name}: SELinux user or role"
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"{name}: host port {port['hostPort']}"
