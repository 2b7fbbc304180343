"""``python -m fuzz.guided SECONDS FOLDER``: mutations that coverage guides.

libFuzzer on the runner's checks of a model (clang++-14), and Atheris on the reader in Python; both
begin with the models of the folder. Each runs for so many seconds; what fails is kept by them in
``build/fuzz``, and ends this program with their exit code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from support.places import REPOSITORY
from toolchain.build.compiler import require
from toolchain.fetch.apt import AptRoot
from toolchain.fetch.sources import load_sources, tree

_HERE = Path(__file__).parent
_RUNNER = REPOSITORY / "runtime_patch/runner"
_LARGEST = 100_000
"""Bytes of a model to begin with: coverage grows by small ones."""
_SANITIZERS = "fuzzer,address,undefined"


def build_model_check(program: Path) -> None:
    """Compile the runner's checks with libFuzzer."""
    require({"clang++-14": "clang-14 libclang-rt-14-dev"})
    sources, apt = load_sources(), AptRoot()
    tensorflow, flatbuffers = (
        tree(sources.get(name), apt) for name in ("tensorflow", "flatbuffers")
    )
    lite = tensorflow / "tensorflow/lite"
    files = [
        _HERE / "model_check_fuzz.cc", _RUNNER / "model_check.cc", _RUNNER / "sparsity_check.cc",
        lite / "core/api/error_reporter.cc", lite / "schema/schema_utils.cc",
    ]  # fmt: skip
    subprocess.run(
        [  # noqa: S607 - the compiler that is there
            "clang++-14", "-std=c++17", "-O1", "-g", f"-fsanitize={_SANITIZERS}",
            "-fno-sanitize-recover=undefined", f"-I{_RUNNER}", f"-I{tensorflow}",
            f"-I{flatbuffers / 'include'}", *files, "-o", program,
        ],
        check=True,
    )  # fmt: skip


def main(seconds: int, folder: Path) -> int:
    """See the module."""
    place = Path("build/fuzz").resolve()
    corpus = place / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.tflite"):
        if path.stat().st_size <= _LARGEST:
            shutil.copy(path, corpus)
    program = place / "model_check_fuzz"
    build_model_check(program)
    options = [f"-max_total_time={seconds}", "-timeout=10", f"-artifact_prefix={place}/"]
    codes = []
    for words in ([program], [sys.executable, _HERE / "guided_reader.py"]):
        code = subprocess.run([*words, *options, corpus], check=False).returncode
        codes.append(code)
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
