"""Drives csrc/CMakeLists.txt, the only build description of the core, and puts kernels/ into wheels."""

import os
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Builds qwen3edge._core with CMake and Ninja."""

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"  # kept, so that a rebuild is quick
        build.mkdir(parents=True, exist_ok=True)
        configure = [
            "cmake", "--fresh", "-S", str(ROOT / "csrc"), "-B", str(build), "-G", "Ninja",
            "-DCMAKE_BUILD_TYPE=Release", "-DQWEN3EDGE_PYTHON=ON", "-DQWEN3EDGE_SHARED=OFF",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target}",
            f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            *os.environ.get("QWEN3EDGE_CMAKE_ARGS", "").split(),
        ]  # fmt: skip
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build), "--target", "_core"], check=True)


class BuildPy(build_py):
    """A wheel has kernels/ as qwen3edge/kernels/. A checkout, also an editable one, finds it by qwen3edge/kernels.py.

    Were it a package of pyproject.toml, an editable install would be an import hook, which type checkers and editors do
    not follow; so it is one line in a .pth file.
    """

    KERNELS = ("qwen3edge.kernels", "qwen3edge.kernels.references", "qwen3edge.kernels.configs")

    def run(self) -> None:
        if not self.editable_mode:
            self.packages = [*self.packages, *self.KERNELS]
            self.package_dir = {**self.package_dir, "qwen3edge.kernels": "kernels"}
        super().run()

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        stand_in = ("qwen3edge", "kernels")
        return found if self.editable_mode else [each for each in found if each[:2] != stand_in]


setup(
    ext_modules=[Extension("qwen3edge._core", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "build_py": BuildPy},
)
