"""The C library fits a device: stripped, with all tiers of x86-64; what only converting or tests need is not in it."""

import re
import subprocess
import sys

import pytest

from scripts import sizes
from tests.conftest import ROOT

ALL_TIERS = 1_500_000  # bytes, by GCC


@pytest.fixture(scope="module")
def folder(core_build):
    """The library and its map; skips where the core was made otherwise than for a device."""
    cache = (core_build / "CMakeCache.txt").read_text()
    compilers = [path.read_text() for path in core_build.glob("CMakeFiles/*/CMakeCXXCompiler.cmake")]
    wanted = ("CMAKE_BUILD_TYPE:STRING=Release\n", "QWEN3EDGE_SANITIZE:STRING=\n", "QWEN3EDGE_TIERS:STRING=all\n")
    if not all(each in cache for each in wanted) or not any('COMPILER_ID "GNU"' in each for each in compilers):
        pytest.skip("the core is no release by GCC with every tier")
    return sizes.build(core_build / "libqwen3edge_core.a", ROOT / "build" / "sizes")


def test_the_parts_are_all_of_it(folder):
    parts = sizes.parts(folder)
    assert sum(parts.values()) == sizes.stripped(folder / sizes.LIBRARY)
    assert {"capi", "runtime", "text", "ukernels scalar", sizes.TABLES, sizes.REST} <= set(parts)
    assert min(parts.values()) > 0 and parts[sizes.REST] < 80_000, "most of it has a name"


@pytest.mark.skipif("x86_64" not in sys.implementation._multiarch, reason="the bar is for x86-64")
def test_every_tier_fits(folder):
    parts = sizes.parts(folder)
    assert {f"ukernels {tier}" for tier in ("avx2", "avxvnni", "avx512", "amx")} <= set(parts)
    assert sum(parts.values()) <= ALL_TIERS, parts


def test_what_devices_do_not_need_is_not_linked(folder):
    """Packers, probes, the emulation of AMX."""
    listed = subprocess.run(["nm", "-C", folder / sizes.LIBRARY], capture_output=True, text=True, check=True).stdout
    assert "q3e::kernel_table" in listed
    assert re.findall(r"q3e::\S*(?:pack_panel|EmulatedTiles|time_qk_norm_rope|limits_)\S*", listed) == []
