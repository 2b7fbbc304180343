"""Whether the file that was written computes what the model does, on several runtimes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from toolchain.agreement.blame import Blame, Run, find_operator
from toolchain.agreement.differences import Difference
from toolchain.agreement.runtimes import Litert, Runtime, Runtimes
from toolchain.convert.calibration import Samples
from toolchain.convert.compare import Agreement, Comparison, Refused, compare_outputs, file_inputs
from toolchain.convert.original import Original
from toolchain.convert.reference import random_inputs
from toolchain.convert.verdict import Find, require_agreement, require_quality
from toolchain.errors import VerificationError
from toolchain.progress import Progress


@dataclass(frozen=True)
class FileCheck:
    """Compares a file with the model that it was made of.

    Args:
        source: the model.
        path: the file.
        progress: where stages are announced.
        seed: of random inputs.
    """

    source: Original
    path: Path
    progress: Progress
    seed: int

    def against_torch(self, runtimes: Runtimes, tolerance: float) -> Comparison:
        """Compare a float32 file on random inputs.

        Args:
            runtimes: that run it.
            tolerance: the largest difference that is let through, as a part of its scale.

        Raises:
            VerificationError: there is a larger one, or a runtime refuses the file.
        """
        inputs = random_inputs(self.source, self.seed)
        found = self._compare(f"compare with {self.source.framework}", runtimes, inputs, tolerance)
        find = self._finder(runtimes, inputs)
        require_agreement(found, tolerance, seed=self.seed, find=find)
        return found

    def of_quantised(
        self, runtimes: Runtimes, tried: Samples | None, least_db: float, ours: Collection[str]
    ) -> Comparison:
        """Compare a quantised file, on calibration data where there is some.

        Args:
            runtimes: that run it.
            tried: data that was not calibrated on; random inputs if ``None``.
            least_db: the least signal-to-quantisation-noise ratio that is let through.
            ours: names of runtimes that are the project's own.

        Raises:
            VerificationError: an output is noisier, or a runtime refuses the file.
        """
        inputs: Sequence[Sequence[Tensor]] = random_inputs(self.source, self.seed)
        advice = (
            "what is noisy in int8 weights is not in --quantize fp16, "
            f"nor without --quantize; --seed {self.seed} tries the same inputs again"
        )
        if tried is not None:
            inputs = [tried[index] for index in range(len(tried))]
            advice = (
                "data that is more like what the network was trained on may do better; "
                "--quantize fp16 touches weights only"
            )
        title = f"compare quantised file with {self.source.framework}"
        found = self._compare(title, runtimes, inputs, None)
        find = self._finder(runtimes, inputs)
        require_quality(found, least_db, advice=advice, find=find, ours=ours)
        return found

    def _compare(
        self,
        title: str,
        runtimes: Runtimes,
        inputs: Sequence[Sequence[Tensor]],
        tolerance: float | None,
    ) -> Comparison:
        with self.progress.stage(title, 1 + len(runtimes.found)) as stage:
            try:
                return compare_outputs(
                    self.source, self.path, inputs, runtimes, tolerance=tolerance,
                    step=stage.advance,
                )  # fmt: skip
            except Refused as refused:
                error = refused.error
                blame = self._find(refused.runtime, Litert("builtin"), inputs[0], None)
                known = blame is None or blame.op in error.what
                remark = "" if known else f"; it refuses {blame}"
                raise VerificationError(f"{error.what}{remark}", hint=error.hint) from refused

    def _finder(self, runtimes: Runtimes, inputs: Sequence[Sequence[Tensor]]) -> Find:
        def runtime(of: Agreement) -> Runtime:
            return next(
                item
                for item in runtimes.found
                if (item.name, item.kernels) == (of.runtime, of.kernels)
            )

        def find(bad: Agreement, good: Agreement) -> Blame | None:
            # Plain kernels ran the first inference, and so did all others.
            return self._find(runtime(bad), runtime(good), inputs[0], bad.worst)

        return find

    def _find(
        self, bad: Runtime, good: Runtime, inputs: Sequence[Tensor], difference: Difference | None
    ) -> Blame | None:
        [arrays] = file_inputs(self.path, [inputs])

        def run(runtime: Runtime) -> Run:
            return lambda path: runtime.run(path, [[array.copy() for array in arrays]])[0]

        with self.progress.stage("find the operator", 1) as stage:
            found = find_operator(self.path, run(good), run(bad), difference)
            stage.advance()
        return found
