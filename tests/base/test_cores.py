"""How many cores a quota leaves, over trees of control groups as containers and service managers make them."""

import os
from pathlib import Path

import pytest

from qwen3edge import _core

VISIBLE = len(os.sched_getaffinity(0))
V2 = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 23 0:30 {top} /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"


def tree(root: Path, group: str, mounts: str, files: dict[str, str]) -> str:
    """A file system with these contents."""
    contents = {"proc/self/cgroup": group, "proc/self/mountinfo": "21 1 0:4 / /proc rw - proc proc rw\n" + mounts}
    for name, text in {**contents, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def cores(quota: float) -> int:
    """Whole ones, of those that the test may use."""
    return max(1, min(VISIBLE, int(quota)))


CPU_MAX, V1_CPU = "sys/fs/cgroup{}/cpu.max", "sys/fs/cgroup/cpu,cpuacct{}/cpu.cfs_{}_us"


def v2(**quotas: str) -> dict[str, str]:
    return {CPU_MAX.format(folder.replace("_", "/")): text + " 100000\n" for folder, text in quotas.items()}


def v1(quotas: dict[str, int]) -> dict[str, str]:
    files = {V1_CPU.format(folder, "quota"): f"{quota}\n" for folder, quota in quotas.items()}
    return files | {V1_CPU.format(folder, "period"): "100000\n" for folder in quotas}


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({"_a_b": "100000"}, 1),  # the process's own group
        ({"_a_b": "max", "_a": "100000"}, 1),  # the one above
        ({"_a_b": "max", "_a": "max", "": "100000"}, 1),  # the mount itself, as in a container
        ({"_a_b": "6400000", "_a": "100000"}, 1),
        ({"_a_b": "100000", "_a": "6400000"}, 1),
        ({"_a_b": "199999"}, 1.99),  # whole cores only
        ({"_a_b": "200000"}, 2),
        ({"_a_b": "20000"}, 1),  # at least one
        ({"_a_b": "max", "_a": "max"}, VISIBLE),
        ({"_a_other": "100000"}, VISIBLE),
        ({"_a_b": "nonsense"}, VISIBLE),
        ({}, VISIBLE),
    ],
)
def test_version_2(tmp_path, quotas, expected):
    assert _core.usable_cores(tree(tmp_path, "0::/a/b\n", V2.format(top="/"), v2(**quotas))) == cores(expected)


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({"/a/b": 100000}, 1),
        ({"/a/b": -1, "/a": 100000}, 1),
        ({"/a/b": -1, "": 100000}, 1),
        ({"/a/b": 150000, "/a": -1}, 1.5),
        ({"/a/b": -1, "/a": -1, "": -1}, VISIBLE),
        ({"/a/b": 0}, VISIBLE),
    ],
)
def test_version_1(tmp_path, quotas, expected):
    groups = "5:memory:/x\n4:cpuacct,cpu:/a/b\n3:cpuset:/\n"
    assert _core.usable_cores(tree(tmp_path, groups, V1.format(top="/"), v1(quotas))) == cores(expected)


def test_a_container_that_sees_the_groups_of_its_host(tmp_path):
    """The mount begins at the container's own group, while /proc names it from the host's root."""
    group, mount = "0::/docker/1f2e/inner\n", V2.format(top="/docker/1f2e")
    assert _core.usable_cores(tree(tmp_path / "a", group, mount, v2(**{"": "100000"}))) == 1
    assert _core.usable_cores(tree(tmp_path / "b", group, mount, v2(_inner="100000"))) == 1
    elsewhere = V2.format(top="/docker/1f2")  # another group, though its name begins alike
    assert _core.usable_cores(tree(tmp_path / "c", group, elsewhere, v2(e_inner="100000"))) == VISIBLE


def test_a_group_outside_of_the_mount(tmp_path):
    files = v2(**{"": "100000", "_a": "100000"})
    assert _core.usable_cores(tree(tmp_path, "0::/../../a\n", V2.format(top="/"), files)) == 1


def test_both_versions_at_once(tmp_path):
    groups, mounts = (
        "4:cpu:/a\n0::/a\n",
        V1.format(top="/") + V2.format(top="/").replace("/cgroup rw", "/cgroup/unified rw"),
    )
    assert _core.usable_cores(tree(tmp_path, groups, mounts, v1({"/a": 100000}))) == 1


@pytest.mark.parametrize("group", ["", "\n", "0", "0:", "0::", "::", "0::a", "4:cpu", "0::/" + "a/" * 3000])
def test_files_that_say_nothing(tmp_path, group):
    assert _core.usable_cores(tree(tmp_path, group, V2.format(top="/"), {})) == VISIBLE
    assert _core.usable_cores(str(tmp_path / "absent")) == VISIBLE
