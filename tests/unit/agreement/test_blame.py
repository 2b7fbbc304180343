from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from support.tflite_writer import GraphWriter
from toolchain.agreement.blame import find_operator
from toolchain.agreement.differences import Array, Difference, compare_output
from toolchain.agreement.inputs import Batch, random_inputs
from toolchain.agreement.interpreter import run_here
from toolchain.errors import ModelError
from toolchain.tflite_file.graph import read_model


@dataclass(frozen=True)
class Chain:
    """``a + b``, through a chain of six operators, two of which have a branch."""

    path: Path
    batch: Batch

    def good(self, path: Path) -> list[Array]:
        return run_here(read_model(path), self.batch)

    def wrong_at(self, op: str) -> Callable[[Path], Sequence[Array]]:
        """All outputs are off once the file holds an operator."""

        def run(path: Path) -> list[Array]:
            has = op in {item.op for item in read_model(path).graph.operators}
            return [array + 0.5 * has for array in self.good(path)]

        return run

    def refusing(self, op: str) -> Callable[[Path], Sequence[Array]]:
        def run(path: Path) -> list[Array]:
            if op in {item.op for item in read_model(path).graph.operators}:
                raise ModelError("no")
            return self.good(path)

        return run

    def difference(self) -> Difference:
        wanted = self.good(self.path)[0]
        return compare_output(wanted + 0.5, wanted)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    graph = GraphWriter()
    left, right = graph.tensor((1, 4)), graph.tensor((1, 4))
    total = graph.add(left, right, (1, 4))
    one = graph.operator("TANH", [total], (1, 4))
    other = graph.operator("LOGISTIC", [total], (1, 4))
    joined = graph.add(one, other, (1, 4))
    square = graph.operator("ABS", [joined], (1, 4))
    last = graph.operator("NEG", [square], (1, 4))
    path = graph.write(tmp_path / "chain.tflite", [left, right], [last])
    return Chain(path, random_inputs(read_model(path), 1, 0))


@pytest.mark.parametrize(
    ("op", "index"), [("ADD", 0), ("TANH", 1), ("LOGISTIC", 2), ("ABS", 4), ("NEG", 5)]
)
def test_the_first_operator_that_is_wrong_or_refused_is_found(
    chain: Chain, op: str, index: int
) -> None:
    found = find_operator(chain.path, chain.good, chain.wrong_at(op), chain.difference())
    assert found is not None
    assert (found.op, found.index) == (op, index)
    refused = find_operator(chain.path, chain.good, chain.refusing(op), None)
    assert refused == found
    assert f"operator {index}, {op} of '" in str(found)


def test_where_two_agree_nothing_is_blamed(chain: Chain) -> None:
    assert find_operator(chain.path, chain.good, chain.good, chain.difference()) is None
    assert find_operator(chain.path, chain.good, chain.wrong_at("NEG"), None) is None


def test_a_reference_that_fails_blames_nobody(chain: Chain) -> None:
    found = find_operator(chain.path, chain.refusing("ADD"), chain.wrong_at("TANH"),
                          chain.difference())  # fmt: skip
    assert found is None


def test_the_file_stays_as_it_is(chain: Chain) -> None:
    before = chain.path.read_bytes()
    find_operator(chain.path, chain.good, chain.wrong_at("TANH"), chain.difference())
    assert chain.path.read_bytes() == before
    assert np.isfinite(chain.good(chain.path)[0]).all()
