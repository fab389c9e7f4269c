"""What pip makes of this checkout: an editable install that tools follow, an sdist that builds, a wheel that runs."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from qwen3edge.cli import verbs as cli_verbs
from tests.installed import ROOT, Environment, run_verbs, source_distribution, verbs
from tests.pythons import TESTS as PYTHONS_TESTS

NEEDS_CONVERT = {"convert", "export", "calibrate"}


def test_every_package_is_listed():
    if sys.version_info < (3, 11):
        pytest.skip("tomllib comes with Python 3.11")
    import tomllib  # noqa: PLC0415

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    here = {path.parent for path in (ROOT / "qwen3edge").glob("**/*.py")}
    assert sorted(listed) == sorted(".".join(path.relative_to(ROOT).parts) for path in here)


def test_what_every_python_runs_needs_no_torch():
    """tests/pythons.py installs none."""
    code = (
        "import sys, pytest; sys.modules['torch'] = sys.modules['transformers'] = None; "
        f"sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', *{PYTHONS_TESTS!r}]))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-2000:]


def test_type_checkers_follow_the_editable_install(tmp_path):
    """They read paths in .pth files, and no import hooks."""
    # A build leaves an egg-info in the checkout, which is found first where tests run, and says nothing of this.
    found = importlib.metadata.distributions(name="qwen3edge")
    installed = next((each for each in found if each.read_text("direct_url.json")), None)
    if installed is None:
        pytest.skip("this checkout is not installed here")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("url") != ROOT.as_uri() or not origin.get("dir_info", {}).get("editable"):
        pytest.skip("this checkout is not installed editable here")
    paths = [Path(str(file.locate())) for file in installed.files or [] if file.suffix == ".pth"]
    assert paths
    for path in paths:
        assert path.read_text().strip() == str(ROOT), f"{path}: expected the checkout's folder"
    pytest.importorskip("mypy", reason="comes with make lint")
    app = tmp_path / "app.py"
    app.write_text(
        'import qwen3edge\nfrom qwen3edge.convert import convert\n\nwith qwen3edge.load("m.q3e") as model:\n'
        '    text: str = "".join(model.generate("hi"))\n    wrong: int = model.logits([1])\n'
    )
    said = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "app.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    lines = said.stdout.splitlines()
    assert len(lines) == 2 and lines[0].startswith("app.py:6: error: Incompatible types"), said.stdout


def test_the_verbs_of_the_list_are_all(tmp_path):
    assert set(verbs(tmp_path / "m.q3e", tmp_path)) == set(cli_verbs.names())


@pytest.mark.parametrize(("verb", "lacking"), [*((verb, "gguf") for verb in sorted(NEEDS_CONVERT)), ("aot", "triton")])
def test_a_missing_package_is_one_line(verb, lacking, tmp_path):
    program = f"import sys; sys.modules[{lacking!r}] = None; from qwen3edge.cli.main import main; sys.exit(main())"
    arguments = verbs(tmp_path / "m.q3e", tmp_path)[verb]
    found = subprocess.run(
        [sys.executable, "-c", program, verb, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    extra = "gpu" if verb == "aot" else "convert"
    assert found.stderr == f"qwen3edge: {verb} needs: pip install 'qwen3edge[{extra}]' (found no {lacking})\n"
    assert (found.returncode, found.stdout) == (1, "")


@pytest.mark.parametrize(
    ("module", "lacking", "extra"),
    [
        ("convert", "gguf", "convert"), ("convert", "safetensors", "convert"), ("convert.recipe", "gguf", "convert"),
        ("calibrate.calibration", "gguf", "convert"), ("runtime.aot", "triton", "gpu"),
    ],
)  # fmt: skip
def test_a_missing_package_in_python(module, lacking, extra):
    """A typed error, which is a ModuleNotFoundError as well."""
    program = (
        f"import sys; sys.modules[{lacking!r}] = None\nfrom qwen3edge.errors import MissingExtraError\n"
        f"try:\n    import qwen3edge.{module}\nexcept ModuleNotFoundError as error:\n"
        "    assert type(error) is MissingExtraError, repr(error)\n    print(error.name, error)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    part = "qwen3edge.convert" if extra == "convert" else f"qwen3edge.{module}"
    words = f"{lacking} {part} needs: pip install 'qwen3edge[{extra}]' (found no {lacking})\n"
    assert (found.stdout, found.stderr) == (words, "")


def test_a_checkout_that_is_not_built(tmp_path):
    """Its Python is imported, its core is not there: the error says how it is built, also on the command line."""
    shutil.copytree(ROOT / "qwen3edge", tmp_path / "qwen3edge", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    program = "import qwen3edge; print(qwen3edge.__version__, flush=True); qwen3edge.load('m.q3e')"
    error = "qwen3edge.errors.NotBuiltError: "
    for begin, arguments in ((error, ["-c", program]), (error, ["-c", "from qwen3edge import _core"]),
                             ("qwen3edge: ", ["-m", "qwen3edge", "info", "m.q3e"])):  # fmt: skip
        found = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        last = found.stderr.splitlines()[-1]
        assert last.startswith(f"{begin}qwen3edge in {tmp_path}/qwen3edge is not built") and "run make" in last, last
        assert found.returncode == 1
    assert found.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_wheel_of_the_sdist_runs_every_verb(tiny_int4, tmp_path):
    """In an environment with nothing but the wheel's own requirements; then with the extra that verbs ask for."""
    source = source_distribution(tmp_path)
    with tarfile.open(source) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {
        "csrc/CMakeLists.txt",
        "setup.py",
        "LICENSE",
        "kernels/configs/default.json",
        "qwen3edge/kernels.py",
    } <= set(names)
    assert not [name for name in names if name.startswith("tests/") or name.endswith((".so", ".pyc"))]
    environment = Environment.new(sys.executable, tmp_path / "empty")
    wheel = environment.wheel(source, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    here = {path.relative_to(ROOT) for path in (ROOT / "kernels").rglob("*") if path.suffix in {".py", ".json"}}
    assert names >= {f"qwen3edge/{path}" for path in here} and "qwen3edge/kernels.py" not in names
    environment.install(wheel)
    found = run_verbs(environment, tiny_int4, tmp_path)
    lacking = {verb: line for verb, line in found.items() if line}
    assert set(lacking) == NEEDS_CONVERT | {"aot"}, lacking
    environment.install(f"{wheel}[convert]")
    assert {verb for verb, line in run_verbs(environment, tiny_int4, tmp_path).items() if line} == {"aot"}
