"""What control groups and the system leave, over trees of groups as containers and service managers make them."""

import pytest

from qwen3edge import _core
from tests.base.test_cores import V2, tree

V1 = "33 23 0:30 {top} /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
MIB = 1 << 20
AVAILABLE = 4096 * MIB
MEMINFO = {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable: {AVAILABLE >> 10} kB\n"}


def budget(root) -> int:
    return _core.default_budget(str(root))


def less_margin(size: int) -> int:
    return size - min(size // 16, 512 * MIB)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"/a/b": 300 * MIB}, 300),
        ({"/a/b": "max", "/a": 300 * MIB}, 300),
        ({"/a/b": "max", "/a": "max", "": 300 * MIB}, 300),
        ({"/a/b": 400 * MIB, "/a": 300 * MIB}, 300),
        ({"/a/b": 300 * MIB, "/a": 400 * MIB}, 300),
        ({"/a/b": "max", "/a/other": 300 * MIB}, None),
        ({}, None),
    ],
)
def test_version_2(tmp_path, limits, expected):
    files = {f"sys/fs/cgroup{group}/memory.max": f"{limit}\n" for group, limit in limits.items()}
    tree(tmp_path, "0::/a/b\n", V2.format(top="/"), {**files, **MEMINFO})
    found = budget(tmp_path)
    if expected is None:  # what this process holds already counts as available
        assert less_margin(AVAILABLE) < found < less_margin(AVAILABLE + 2048 * MIB)
    else:
        assert found == less_margin(expected * MIB)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({"/a/b": 300 * MIB}, 300), ({"/a/b": 9223372036854771712, "/a": 300 * MIB}, 300), ({"/a/b": 2**63 - 4096}, None)],
)
def test_version_1(tmp_path, limits, expected):
    files = {f"sys/fs/cgroup/memory{group}/memory.limit_in_bytes": f"{n}\n" for group, n in limits.items()}
    tree(tmp_path, "5:memory:/a/b\n3:cpuset:/\n", V1.format(top="/"), {**files, **MEMINFO})
    found = budget(tmp_path)
    assert found > less_margin(AVAILABLE) if expected is None else found == less_margin(expected * MIB)


def groups(tmp_path, version: int, files: dict[str, str]) -> None:
    """A container's own group with these files, the system's memory far above it."""
    if version == 2:
        folder, lines, mount = "sys/fs/cgroup/a", "0::/a\n", V2.format(top="/")
    else:
        folder, lines, mount = "sys/fs/cgroup/memory/a", "5:memory:/a\n", V1.format(top="/")
    tree(tmp_path, lines, mount, {**{f"{folder}/{name}": text for name, text in files.items()}, **MEMINFO})


STAT = {
    2: "anon {anon}\nfile {file}\ninactive_file {inactive}\nactive_file {active}\n",
    1: "cache 0\ninactive_file 0\nactive_file 0\ntotal_inactive_file {inactive}\ntotal_active_file {active}\n",
}


@pytest.mark.parametrize("version", [1, 2])
def test_what_others_hold_in_a_group_is_not_left(tmp_path, version):
    """Cached pages of files are: the kernel takes them before it kills anyone."""
    limit, used, inactive, active = 3000 * MIB, 2500 * MIB, 400 * MIB, 100 * MIB
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    stat = STAT[version].format(anon=used - inactive - active, file=0, inactive=inactive, active=active)
    groups(tmp_path, version, {names[0]: f"{limit}\n", names[1]: f"{used}\n", "memory.stat": stat})
    left, own = limit - (used - inactive - active), _core.resident_bytes()
    assert less_margin(left) <= budget(tmp_path) <= less_margin(left + own)


def test_a_group_that_others_have_filled(tmp_path):
    """What is left is no more than this process holds already; the budget is not 0, which would mean any."""
    groups(tmp_path, 2, {"memory.max": f"{700 * MIB}\n", "memory.current": f"{16000 * MIB}\n"})
    assert 0 < budget(tmp_path) <= max(1, _core.resident_bytes())


def test_this_process_is_not_one_of_the_others(tmp_path):
    groups(tmp_path, 2, {"memory.max": f"{900 * MIB}\n", "memory.current": f"{4 * MIB}\n"})
    assert budget(tmp_path) == less_margin(900 * MIB)


@pytest.mark.parametrize(("most", "high", "expected"), [("max", 300, 300), (200, 300, 200), (400, "max", 400)])
def test_memory_high(tmp_path, most, high, expected):
    """Above it the kernel takes pages back at every allocation: a limit, as MemoryHigh= of a service."""

    def text(limit):
        return f"{limit if limit == 'max' else limit * MIB}\n"

    groups(tmp_path, 2, {"memory.max": text(most), "memory.high": text(high), "memory.current": "0\n"})
    assert budget(tmp_path) == less_margin(expected * MIB)


def test_without_proc_nothing_is_known(tmp_path):
    assert budget(tmp_path) == 0
