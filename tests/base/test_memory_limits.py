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
