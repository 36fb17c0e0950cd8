"""Allowed paths of a job: the interpreter, the allowed libraries, and nothing else.

Whole trees such as site-packages are left out on purpose: sample videos lie there, and a decoder
that can read its reference needs no bits.
"""

import csv
import importlib.metadata
import importlib.util
import os
import re
import sys
import sysconfig
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evocodec.sandbox.review.static_rules import CODEC_LIBRARIES, CODEC_MODULES

_DISTRIBUTIONS = {
    "cv2": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
    "PIL": ("pillow",),
}
# Parts of Pillow without codecs, to be loaded before its files are hidden.
PILLOW_MODULES = (
    *("Image", "ImageChops", "ImageColor", "ImageDraw", "ImageEnhance", "ImageFilter", "ImageFont"),
    *("ImageMath", "ImageOps", "ImageStat", "_imagingft", "_imagingmath", "_imagingmorph"),
)
_WITHOUT_NATIVE_CALLS = {"numpy", "cv2", "constriction", "PIL", "evocodec"}
_lock = threading.Lock()
_NOT_STANDARD = frozenset({"site-packages", "dist-packages", "test", "__pycache__"})
_SYSTEM = (
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
    "/sys/devices/system/cpu",
    "/proc/cpuinfo",
    "/etc/alternatives",  # links that some distributions' shared libraries go through
)
_PARTS_OF_EVOCODEC = ("__init__.py", "__pycache__", "domain", "codec", "isolation", "guest")
_GPU_DRIVER = (
    "/proc/driver/nvidia",
    "/proc/devices",
    "/proc/meminfo",
    "/sys/bus/pci",
    "/sys/devices",
    "/sys/module/nvidia",
)


@dataclass(frozen=True, slots=True)
class AllowedPaths:
    """Files and folders that a job may see.

    Files in ``trees`` may be read. Of ``listable`` folders only the names are visible. ``links``
    are the symbolic links that lead to both, with their targets.
    """

    trees: tuple[str, ...]
    listable: tuple[str, ...]
    links: Mapping[str, str]


def allowed_paths(allowed_imports: Iterable[str], *, gpu: bool = False) -> AllowedPaths:
    """Return the paths for jobs that may import ``allowed_imports``; looked up once per process."""
    with _lock:  # fork servers start side by side
        return _find_paths(frozenset(allowed_imports), gpu, tuple(sys.path))


@cache
def _find_paths(
    allowed_imports: frozenset[str], gpu: bool, search_path: tuple[str, ...]
) -> AllowedPaths:
    scheme = sysconfig.get_paths()
    listable = {scheme["stdlib"], scheme["platstdlib"], scheme["purelib"], scheme["platlib"]}
    paths: set[Path] = {Path(path) for path in (*_SYSTEM, *(_GPU_DRIVER if gpu else ()))}
    for folder in {scheme["stdlib"], scheme["platstdlib"]}:
        if Path(folder).is_dir():
            paths |= {path for path in Path(folder).iterdir() if path.name not in _NOT_STANDARD}
    paths |= set(_system_library_folders())
    package = Path(__file__).resolve().parents[1]
    paths |= {package / part for part in _PARTS_OF_EVOCODEC}
    for name in {name.partition(".")[0] for name in allowed_imports}:
        if name != "evocodec" and name not in sys.stdlib_module_names:
            paths |= _paths_of_library(name)
    existing = {str(path.resolve()) for path in paths if path.exists()}
    folders = tuple(sorted(filter(_is_folder, listable)))
    links = _links_to([*map(str, paths), *folders, *search_path])
    return AllowedPaths(tuple(sorted(existing)), folders, links)


def native_libraries(allowed_imports: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``allowed_imports`` that may call native code through ctypes at run time."""
    allowed = {name.partition(".")[0] for name in allowed_imports}
    standard = sys.stdlib_module_names - {"ctypes", "_ctypes"}
    return tuple(sorted(allowed - standard - _WITHOUT_NATIVE_CALLS))


def masked_paths(trees: Iterable[str]) -> tuple[str, ...]:
    """Return the files within ``trees`` that jobs must not read: those that hold existing codecs.

    OpenCV and Pillow hold codecs among other things, so their allowed parts are loaded before the
    mask applies. So is ctypes: a second copy could call what the first one may not.
    """
    system = {str(path.resolve()) for path in _system_library_folders()}
    found: set[Path] = set()
    for path in map(Path, trees):
        if path.name in {"cv2", "PIL"}:
            found |= set(path.rglob("*.so"))
            found |= {file for file in path.rglob("*.py*") if _is_codec(path.name, file)}
        elif path.name == "pillow.libs" or re.fullmatch(r"opencv_\w+\.libs", path.name):
            found.add(path)
        elif path.name == "torchvision":
            found |= {file for file in path.glob("*.so") if not file.name.startswith("_C")}
        elif path.name == "lib-dynload":
            found |= set(path.glob("_ctypes.*"))
        elif path.suffix == ".libs" or str(path) in system:
            found |= {file for file in path.glob("lib*.so*") if CODEC_LIBRARIES.match(file.name)}
    return tuple(sorted(str(path) for path in found if not path.is_symlink()))


def _is_codec(package: str, file: Path) -> bool:
    """Whether a module, as its source or as bytecode, is a codec."""
    return CODEC_MODULES.fullmatch(f"{package}.{file.name.partition('.')[0]}") is not None


def _links_to(paths: Iterable[str]) -> dict[str, str]:
    """Return every symbolic link in ``paths`` and in the paths that those links lead to."""
    links: dict[str, str] = {}
    seen: set[Path] = set()
    queue = [path for path in paths if path.startswith("/")]
    while queue:
        path = Path(queue.pop())
        if path in seen:
            continue
        seen.add(path)
        for place in (*reversed(path.parents), path):
            if place.is_symlink():
                links[str(place)] = target = str(place.readlink())
                queue.append(os.path.normpath(place.parent / target / path.relative_to(place)))
                break
    return links


def _is_folder(path: str) -> bool:
    return Path(path).is_dir()


def _system_library_folders() -> list[Path]:
    multiarch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    bases = [Path("/lib"), Path("/usr/lib"), Path("/usr/local/lib")]
    return [*(base / multiarch for base in bases), Path("/lib64"), Path("/usr/lib64")]


def _paths_of_library(name: str) -> set[Path]:
    """The top-level files and folders of a library and of all that it requires."""
    paths: set[Path] = set()
    seen: set[str] = set()
    queue = list(_DISTRIBUTIONS.get(name, (name,)))
    while queue:
        key = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = importlib.metadata.distribution(key)
        except importlib.metadata.PackageNotFoundError:
            continue
        paths |= _top_level_paths(distribution)
        queue += _required_names(distribution)
    if not paths:
        paths = _paths_of_spec(name)
    return paths


def _top_level_paths(distribution: importlib.metadata.Distribution) -> set[Path]:
    # A path object for each of many thousand files, as ``distribution.files`` makes them, would be
    # most of what starting a fork server takes.
    record = distribution.read_text("RECORD")
    files = (
        [row[0] for row in csv.reader(record.splitlines())]
        if record
        else map(str, distribution.files or ())
    )
    names = {file.removeprefix("./").partition("/")[0] for file in files} - {""}
    return {Path(str(distribution.locate_file(name))) for name in names - {"..", "__pycache__"}}


def _required_names(distribution: importlib.metadata.Distribution) -> list[str]:
    # ``distribution.requires`` has the whole description parsed as a mail.
    text = distribution.read_text("METADATA")
    if text:
        header = text.partition("\n\n")[0]
        lines = re.findall(r"^Requires-Dist:\s*(.*)$", header, re.M | re.I)
    else:
        lines = distribution.requires or []
    wanted = [line for line in lines if "extra ==" not in line]
    matches = [re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line) for line in wanted]
    return [match.group() for match in matches if match]


def _paths_of_spec(name: str) -> set[Path]:
    spec = importlib.util.find_spec(name)
    if spec is None:
        return set()
    folders = {Path(folder) for folder in spec.submodule_search_locations or ()}
    return folders or ({Path(spec.origin)} if spec.origin else set())
