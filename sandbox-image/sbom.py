"""Print a software bill of materials, CycloneDX 1.6 as JSON, of the image this runs in.

Usage: run.sh - <sbom.py. It lists what is there, not what was asked for: every Python distribution
and every Debian package that a file was copied from. Standard library only.
"""

import email.parser
import importlib.metadata
import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

_PACKAGES = Path("/var/lib/dpkg/status.d")
Component = dict[str, object]


def python_components() -> Iterator[Component]:
    """One component for each installed Python distribution."""
    for distribution in importlib.metadata.distributions():
        facts = distribution.metadata
        name, version = facts["Name"], distribution.version
        url = f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version)}"
        known = "License-Expression" in facts
        yield _component(name, version, url, facts["License-Expression"] if known else "")


def debian_components() -> Iterator[Component]:
    """One component for each Debian package that the image holds a part of."""
    release = dict(
        line.strip().split("=", 1)
        for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
        if "=" in line
    )
    system = release.get("ID", "debian").strip('"')
    number = release.get("VERSION_ID", "").strip('"')
    for path in sorted(_PACKAGES.iterdir()) if _PACKAGES.is_dir() else ():
        facts = email.parser.HeaderParser().parsestr(path.read_text(encoding="utf-8"))
        name, version = facts["Package"], facts["Version"]
        where = f"arch={facts['Architecture']}&distro={system}-{number}"
        url = f"pkg:deb/{system}/{quote(name)}@{quote(version)}?{where}"
        yield _component(name, version, url, "")


def _component(name: str, version: str, url: str, license_expression: str) -> Component:
    facts: Component = {"type": "library", "bom-ref": url, "name": name, "version": version}
    if license_expression:
        facts["licenses"] = [{"expression": license_expression}]
    return facts | {"purl": url}


def bill_of_materials() -> dict[str, object]:
    """The whole document; the same for the same contents."""
    parts = [*python_components(), *debian_components()]
    parts.sort(key=lambda part: str(part["purl"]))
    contents = json.dumps(parts, sort_keys=True)
    main = next(part for part in parts if part["name"] == "evocodec")
    parts.remove(main)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, contents)}",
        "version": 1,
        "metadata": {"component": {**main, "type": "container", "name": "evocodec-sandbox"}},
        "components": parts,
    }


if __name__ == "__main__":
    json.dump(bill_of_materials(), sys.stdout, indent=2)
    sys.stdout.write("\n")
