"""Copy what one Python environment needs to run, and nothing else, into an empty root folder.

Usage: collect.py ENVIRONMENT ROOT [FILE|FOLDER…]. The result has an interpreter, its standard
library, the environment and the shared libraries that any of their binaries ask for: no shell, no
package manager, no compiler, unless it is one of the files that are named besides. The Debian
packages that the copied files belong to are recorded under /var/lib/dpkg/status.d, where scanners
look for them, with their copyright notices.
"""

import compileall
import os
import py_compile
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

USER_ID = 65532
_LEFT_OUT_OF_STDLIB = (
    *("site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "tkinter"),
    *("turtledemo", "ensurepip", "lib2to3", "pydoc_data", "config-3*"),
)
# virtualenv carries pip's wheels; Ray needs it only to install packages for a job, which this image
# is there to prevent. Test suites are a tenth of the size, and some hold sample pictures.
_LEFT_OUT_OF_ENVIRONMENT = ("activate*", "Activate*", "virtualenv", "virtualenv-*", "tests", "jars")
_COMMANDS = ("evocodec", "ray")
# Kept out of site-packages, whose folders candidates may list where there are no namespaces: what
# judges them, and the codecs they are compared with.
_SET_APART = ("evocodec", "evocodec-*", "agents", "graph", "imageio_ffmpeg", "imageio_ffmpeg-*")
# Loaded by name while running, so that no binary names them: name service, exit of threads.
_LOADED_BY_NAME = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1")
_SETTINGS = (
    *("/etc/ssl/certs/ca-certificates.crt", "/etc/os-release", "/etc/debian_version"),
    *("/etc/ld.so.conf", "/etc/ld.so.conf.d"),
)
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ELF = b"\x7fELF"


def main(environment: Path, root: Path, *besides: Path) -> None:
    """Fill ``root``."""
    root.mkdir(parents=True)
    for name in _MERGED:  # keep /lib → /usr/lib where the base has it
        if Path("/", name).is_symlink():
            root.joinpath(name).symlink_to(os.readlink(f"/{name}"))
    for stdlib in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}:
        copy_tree(Path(stdlib), root, shutil.ignore_patterns(*_LEFT_OUT_OF_STDLIB))
    copy_tree(environment, root, shutil.ignore_patterns(*_LEFT_OUT_OF_ENVIRONMENT))
    for name in os.listdir(environment / "bin"):
        if name.startswith("python"):
            copy_link_chain(environment / "bin" / name, root)
        elif name not in _COMMANDS:
            (root / environment.relative_to("/") / "bin" / name).unlink(missing_ok=True)
    set_apart(environment, root)
    for path in besides:
        if path.is_dir():
            copy_tree(path, root, None)
        else:
            copy_link_chain(path, root)
    copy_libraries(root)
    for name in _SETTINGS:
        copy_setting(Path(name), root)
    write_accounts(root)
    for name, mode in {"tmp": 0o1777, "dev": 0o755, "proc": 0o755, "sys": 0o755}.items():
        root.joinpath(name).mkdir()
        root.joinpath(name).chmod(mode)
    record_packages(root)
    drop_privileged_modes(root)
    subprocess.run(["ldconfig", "-r", str(root)], check=True)
    # So that nothing is compiled at every start: the root will be read-only. Not checked,
    # hence the same bytes at every build.
    compileall.compile_dir(
        str(root),
        maxlevels=30,
        quiet=2,
        stripdir=str(root),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        workers=0,
    )


def inside(root: Path, path: Path) -> Path:
    """Where ``path`` of this machine goes, its parents made."""
    target = root / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def copy_tree(folder: Path, root: Path, ignore: object) -> None:
    """Copy a folder, following symbolic links that lead out of it."""
    target = inside(root, folder)
    shutil.copytree(folder, target, symlinks=True, ignore=ignore, dirs_exist_ok=True)  # type: ignore[arg-type]
    for link in [path for path in target.rglob("*") if path.is_symlink()]:
        original = folder / link.relative_to(target)
        if not original.resolve().is_relative_to(folder):
            link.unlink()
            if original.is_file():
                shutil.copy2(original, link)


def copy_link_chain(path: Path, root: Path) -> None:
    """Copy a file that is reached over symbolic links, with each link."""
    while path.is_symlink():
        target = inside(root, path)
        target.unlink(missing_ok=True)
        target.symlink_to(os.readlink(path))
        path = path.parent / os.readlink(path)
    shutil.copy2(path, inside(root, path.parent.resolve() / path.name))


def set_apart(environment: Path, root: Path) -> None:
    """Move some packages to a folder of their own, which the interpreter still searches."""
    own = environment / "own"
    (packages,) = inside(root, environment).glob("lib/python3*/site-packages")
    inside(root, own).mkdir()
    for pattern in _SET_APART:
        for path in packages.glob(pattern):
            path.rename(inside(root, own) / path.name)
    packages.joinpath("own.pth").write_text(f"{own}\n", encoding="ascii")


def copy_libraries(root: Path) -> None:
    """Copy every shared library that a binary under ``root`` asks for and that is not there."""
    names = [str(path) for path in binaries(root)]
    listing = subprocess.run(["ldd", *names], capture_output=True, text=True, check=False).stdout
    wanted = {Path(found) for found in re.findall(r"(/\S+) \(0x", listing)}
    cache = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    for name in _LOADED_BY_NAME:
        wanted |= {Path(path) for path in re.findall(rf"{re.escape(name)} .* => (\S+)", cache)[:1]}
    for path in sorted(wanted):
        if not path.is_relative_to(root):
            # Under the name that is asked for: what it links to is only a version of it.
            target = inside(root, path.parent.resolve() / path.name)
            shutil.copy2(path.resolve(), target)


def binaries(root: Path) -> Iterator[Path]:
    """Every ELF file under ``root``."""
    for folder, _folders, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as stream:
                    if stream.read(4) == _ELF:
                        yield path


def copy_setting(path: Path, root: Path) -> None:
    """Copy a file or folder of settings where there is one."""
    if path.is_dir():
        shutil.copytree(path, inside(root, path))
    elif path.is_file():
        shutil.copy2(path, inside(root, path))


def write_accounts(root: Path) -> None:
    """One user who may do nothing, and names looked up in files and by DNS only."""
    files = {
        "passwd": f"candidate:x:{USER_ID}:{USER_ID}::/tmp:/nologin\n",
        "group": f"candidate:x:{USER_ID}:\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
    for name, text in files.items():
        inside(root, Path("/etc", name)).write_text(text, encoding="ascii")


def record_packages(root: Path) -> None:
    """Say which Debian packages the copied files belong to; nothing on other systems."""
    if shutil.which("dpkg-query") is None:
        return
    copied = {f"/{path.relative_to(root)}" for path in binaries(root)}
    copied |= {path.removeprefix("/usr") for path in copied}
    packages = {"base-files"}
    for listing in Path("/var/lib/dpkg/info").glob("*.list"):
        if copied & set(listing.read_text(encoding="utf-8").splitlines()):
            packages.add(listing.stem.partition(":")[0])
    folder = root / "var/lib/dpkg/status.d"
    folder.mkdir(parents=True)
    for package in sorted(packages):
        status = subprocess.run(["dpkg-query", "-s", package], capture_output=True, check=False)
        folder.joinpath(package).write_bytes(status.stdout)
        copy_setting(Path("/usr/share/doc", package, "copyright"), root)


def drop_privileged_modes(root: Path) -> None:
    """No file changes the user who runs it, and none may be written by others."""
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o755)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
