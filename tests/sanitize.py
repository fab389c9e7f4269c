"""Runs tests on a core built with sanitizers: `python tests/sanitize.py address|thread [arguments for pytest]`; what
`make sanitize` calls.

A copy of the repository under build/ is built and tested, so that the core in qwen3edge/ stays what it is. For GCC; a
finding ends the test's process and is printed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = [
    "csrc",
    "examples",
    "kernels",
    "qwen3edge",
    "scripts",
    "bench",
    "tests",
    "README.md",
    "pyproject.toml",
    "setup.py",
]

SANITIZERS = {"address": "address,undefined", "thread": "thread"}
RUNTIMES = {"address": ["libasan.so", "libubsan.so"], "thread": ["libtsan.so"]}
OPTIONS = {
    # Python itself ends without freeing everything. A mapped file that shrinks is SIGBUS, which the core handles.
    "address": {
        "ASAN_OPTIONS": "detect_leaks=0:handle_sigbus=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # so that buffers of Python have borders too
    },
    "thread": {"TSAN_OPTIONS": "handle_sigbus=0:halt_on_error=1:history_size=7:suppressions={suppressions}"},
}
FOLDERS = {
    "address": [
        "tests/base", "tests/models", "tests/formats", "tests/generation", "tests/hostile", "tests/runtime",
        "tests/text", "tests/ukernels", "tests/test_c_example.py",
    ],
    "thread": [
        "tests/models", "tests/generation", "tests/runtime",
        "tests/test_c_example.py",
    ],
}  # fmt: skip
# What cannot hold with a sanitizer in the process.
LEFT_OUT = [
    "tests/runtime/test_memory.py",  # shadow memory counts as resident
    "tests/runtime/test_engine.py::test_import_is_light",  # a time limit
    # Limits of the address space, of which shadow memory takes terabytes.
    "tests/formats/test_gguf.py::test_lies_about_sizes_allocate_nothing",
    "tests/hostile/test_mapped_files.py::test_an_address_space_that_is_too_small",
    # Freed memory is kept for a while.
    "tests/hostile/test_mapped_files.py::test_opening_costs_no_memory_for_what_a_header_claims",
    # Inline functions are called where there is less optimization.
    "tests/test_c_example.py::test_tiers_export_their_kernels_only",
]


def copy_repository(to: Path) -> None:
    """Only what changed, so that a second build is short."""
    for part in PARTS:
        for source in [ROOT / part, *(ROOT / part).rglob("*")]:
            target = to / source.relative_to(ROOT)
            if source.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif source.suffix not in {".so", ".pyc"} and not (
                target.exists() and target.stat().st_mtime_ns == source.stat().st_mtime_ns
            ):
                shutil.copy2(source, target)
    for target in [path for part in PARTS for path in (to / part).rglob("*") if path.suffix not in {".so", ".pyc"}]:
        if target.is_file() and not (ROOT / target.relative_to(to)).exists():
            target.unlink()
    if (cache := ROOT / ".cache").exists() and not (to / ".cache").exists():
        (to / ".cache").symlink_to(cache)


def runtime(name: str) -> str:
    """The path of a library of the compiler."""
    compiler = os.environ.get("CXX", "g++")
    found = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
    if not Path(found.strip()).is_absolute():
        sys.exit(f"expected a compiler with {name}, found {compiler} without")
    return found.strip()


def environment(kind: str, folder: Path) -> dict[str, str]:
    """Of the tests: what they build (the C example) has the sanitizer too."""
    flags = f"-fsanitize={SANITIZERS[kind]} -fno-sanitize-recover=all -g1 -O1"
    options = {
        name: text.format(suppressions=ROOT / "tests" / "sanitize_thread.txt") for name, text in OPTIONS[kind].items()
    }
    return {
        **os.environ,
        **options,
        "CFLAGS": flags,
        "CXXFLAGS": flags,
        "LD_PRELOAD": " ".join(map(runtime, RUNTIMES[kind])),
        "PYTHONPATH": str(folder),
    }


def build_core(kind: str, folder: Path) -> None:
    """The extension, in the copy's qwen3edge/."""
    build = folder / "build" / "core"
    ask = [sys.executable, "-m", "pybind11", "--cmakedir"]
    pybind11 = subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    configure = [
        "cmake", "-S", folder / "csrc", "-B", build, "-G", "Ninja", f"-DQWEN3EDGE_SANITIZE={SANITIZERS[kind]}",
        "-DQWEN3EDGE_PYTHON=ON", "-DQWEN3EDGE_SHARED=OFF", f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={folder / 'qwen3edge'}",
        f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11}",
    ]  # fmt: skip
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", build], check=True)


def main(kind: str, arguments: list[str]) -> int:
    """Builds, then tests; the exit status of pytest."""
    folder = ROOT / "build" / f"sanitize-{kind}"
    copy_repository(folder)
    build_core(kind, folder)
    if not any(argument.startswith("tests") for argument in arguments):
        arguments = [*FOLDERS[kind], *arguments]
    left_out = [f"--deselect={test}" for test in LEFT_OUT]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:faulthandler",
        "--capture=sys",  # what a sanitizer prints would be lost with its process
        *left_out,
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, env=environment(kind, folder), check=False).returncode


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in SANITIZERS:
        sys.exit(f"expected one of {', '.join(SANITIZERS)}")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
