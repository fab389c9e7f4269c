"""Drives csrc/CMakeLists.txt, the only build description of the core."""

import os
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

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


setup(ext_modules=[Extension("qwen3edge._core", sources=[])], cmdclass={"build_ext": CMakeBuild})
