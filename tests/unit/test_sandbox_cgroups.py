"""Where control groups can be made, from what the kernel says about itself."""

from pathlib import Path

import pytest

from evocodec.sandbox.cgroups import Cgroups, JobGroup, locate
from evocodec.sandbox.policy import MEBIBYTE
from tests.support.default_options import default_limits


def mount(kind: str, place: str, options: str, root: str = "/") -> str:
    return f"36 25 0:31 {root} {place} rw,relatime - {kind} {kind} {options}\n"


def test_version_1_has_a_folder_for_each_controller() -> None:
    own = "8:pids:/\n4:memory:/user/session\n3:cpu,cpuacct:/\n0::/\n"
    mounts = mount("cgroup", "/sys/fs/cgroup/memory", "rw,memory")
    mounts += mount("cgroup", "/sys/fs/cgroup/pids", "rw,pids")
    mounts += mount("cgroup2", "/sys/fs/cgroup/unified", "rw") + mount("tmpfs", "/var", "rw")
    assert locate(own, mounts) == (
        1,
        {"memory": Path("/sys/fs/cgroup/memory/user/session"), "pids": Path("/sys/fs/cgroup/pids")},
    )


def test_a_container_that_is_the_root_of_its_mount_is_where_the_mount_is() -> None:
    own = "8:pids:/docker/abc\n4:memory:/docker/abc\n"
    mounts = mount("cgroup", "/cg/memory", "rw,memory", "/docker/abc")
    mounts += mount("cgroup", "/cg/pids", "rw,pids", "/docker/abc")
    assert locate(own, mounts)[1] == {"memory": Path("/cg/memory"), "pids": Path("/cg/pids")}


def test_version_2_hands_its_controllers_on(tmp_path: Path) -> None:
    own = tmp_path / "user.slice"
    own.mkdir()
    switch = own / "cgroup.subtree_control"
    switch.write_text("cpu", encoding="ascii")
    version, folders = locate("0::/user.slice\n", mount("cgroup2", str(tmp_path), "rw"))
    assert (version, set(folders.values())) == (2, {own})
    assert switch.read_text(encoding="ascii") == "+memory +pids"


def test_version_2_writes_the_limits_and_reads_the_use_that_the_kernel_documents(
    tmp_path: Path,
) -> None:
    folders = {"memory": tmp_path, "pids": tmp_path}
    groups = Cgroups.__new__(Cgroups)
    groups.version, groups.folders = 2, folders
    group = JobGroup(groups, "job")
    group.limit(default_limits(memory_bytes=100 * MEBIBYTE, processes=5))
    place = tmp_path / "job"
    assert int((place / "memory.max").read_text(encoding="ascii")) >= 100 * MEBIBYTE
    assert (place / "memory.swap.max").read_text(encoding="ascii") == "0"
    assert (place / "pids.max").read_text(encoding="ascii") == "5"
    (place / "memory.peak").write_text("12345\n", encoding="ascii")
    (place / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n", encoding="ascii")
    use = group.use()
    assert (use.peak_memory_bytes, use.cpu_seconds) == (12345, 2.5)
    group.kill()
    assert (place / "cgroup.kill").read_text(encoding="ascii") == "1"


@pytest.mark.parametrize("own", ["", "8:pids:/\n"])
def test_a_machine_without_the_controllers_is_told_so(own: str) -> None:
    with pytest.raises(OSError, match="memory and pids"):
        locate(own, mount("cgroup", "/cg/pids", "rw,pids"))


def test_a_group_that_can_be_made_in_half_of_the_places_is_not_left_there(tmp_path: Path) -> None:
    groups = Cgroups.__new__(Cgroups)
    groups.version = 1
    groups.folders = {"memory": tmp_path, "pids": tmp_path / "zzz" / "missing"}
    with pytest.raises(FileNotFoundError):
        JobGroup(groups, "job")
    assert list(tmp_path.iterdir()) == []
