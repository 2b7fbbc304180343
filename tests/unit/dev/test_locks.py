"""Lock files: their packages, and what is done with the hashes of PyTorch's builds."""

from __future__ import annotations

from toolchain.dev.locks import entries, parted, same_version, with_hashes

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


def test_hashes_of_other_builds_come_behind_those_that_are_known() -> None:
    found = with_hashes(TORCH, [THREE, ONE, TWO])
    assert found == (
        f"torch==2.13.0 \\\n    --hash={ONE} \\\n    --hash={TWO} \\\n    --hash={THREE}\n"
        "    # via\n    #   tileskip\n"
    )
    assert with_hashes(found, [ONE, TWO]) == found


def test_hashes_are_kept_for_the_same_version_alone() -> None:
    assert same_version(TORCH, with_hashes(TORCH, [TWO]))
    assert not same_version(TORCH, TORCH.replace("2.13.0", "2.14.0"))
    assert not same_version(TORCH, "")


def test_packages_for_gpus_are_told_by_their_names() -> None:
    names = ["nvidia-cublas", "cuda-toolkit", "triton", "torch", "tritonclient", "numpy"]
    packages, cuda = parted({name: name for name in names})
    assert list(packages) == ["torch", "tritonclient", "numpy"]
    assert list(cuda) == ["nvidia-cublas", "cuda-toolkit", "triton"]
