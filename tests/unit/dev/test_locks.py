"""Lock files: their packages, and what is done with the hashes of PyTorch's builds."""

from __future__ import annotations

from toolchain.dev.locks import entries, for_cpus, parted

ONE, TWO, THREE = ("sha256:" + letter * 64 for letter in "123")
TORCH = f"torch==2.13.0 \\\n    --hash={ONE}\n    # via\n    #   tileskip\n"
NUMPY = (
    f"numpy==2.4 ; python_version < '3.12' \\\n    --hash={ONE}\n"
    f"numpy==2.5 ; python_version >= '3.12' \\\n    --hash={TWO}\n"
)


def test_a_lock_file_is_read_package_by_package() -> None:
    assert entries(f"# Written by make lock.\n\n{NUMPY}{TORCH}") == {"numpy": NUMPY, "torch": TORCH}


def test_nothing_is_lost_of_it() -> None:
    assert "".join(entries(NUMPY + TORCH).values()) == NUMPY + TORCH


def test_the_build_for_cpus_is_pinned_by_its_own_version_and_hashes() -> None:
    found = for_cpus("torch==2.13.0", [TWO, ONE], "")
    assert found == f"torch==2.13.0+cpu \\\n    --hash={ONE} \\\n    --hash={TWO}\n"
    assert entries(found) == {"torch": found}


def test_its_hashes_that_another_machine_has_found_are_kept_for_the_same_version() -> None:
    before = for_cpus("torch==2.13.0", [ONE], "")
    assert for_cpus("torch==2.13.0", [THREE], before) == for_cpus("torch==2.13.0", [ONE, THREE], "")
    assert for_cpus("torch==2.14.0", [THREE], before) == for_cpus("torch==2.14.0", [THREE], "")


def test_packages_for_gpus_are_told_by_their_names() -> None:
    names = ["nvidia-cublas", "cuda-toolkit", "triton", "torch", "torch-pruning", "numpy"]
    packages, cuda = parted({name: name for name in names})
    assert list(packages) == ["torch-pruning", "numpy"]
    assert list(cuda) == ["nvidia-cublas", "cuda-toolkit", "triton", "torch"]
