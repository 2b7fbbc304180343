"""Times a small network with ExecuTorch, and writes what its Inspector tells of it.

ExecuTorch lives in an environment of its own, so this file imports nothing of this project, and
runs as a program: ``python executorch_worker.py FOLDER``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.devtools import Inspector
from executorch.exir import to_edge_transform_and_lower
from executorch.extension.pybindings.portable_lib import _load_for_executorch_from_buffer

_RUNS = 4


class Net(torch.nn.Module):
    """Two convolutions, a sum that XNNPACK does not have, and a layer of all with all."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.second = torch.nn.Conv2d(8, 8, 3, padding=1)
        self.last = torch.nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """One image of 3 x 16 x 16 to four figures."""
        image = torch.relu(self.second(torch.relu(self.first(image))))
        figures: torch.Tensor = self.last(torch.cumsum(image, 2).mean((2, 3)))
        return figures


def main() -> None:
    """Write the files of both backends."""
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    image = (torch.randn(1, 3, 16, 16),)
    for name, partitioners in (("portable", []), ("xnnpack", [XnnpackPartitioner()])):
        exported = torch.export.export(Net().eval(), image)
        program = to_edge_transform_and_lower(exported, partitioner=partitioners).to_executorch()
        module = _load_for_executorch_from_buffer(program.buffer, enable_etdump=True)
        for _ in range(_RUNS):
            module.forward(image)
        dump = folder / f"{name}.etdp"
        module.write_etdump_result_to_file(str(dump))
        inspector = Inspector(etdump_path=str(dump))
        dump.unlink()
        with (folder / f"{name}.tsv").open("w") as file:
            inspector.save_data_to_tsv(file)
        inspector.to_dataframe().to_csv(folder / f"{name}.csv")
        if name == "portable":
            with (folder / "without_units.tsv").open("w") as file:
                inspector.save_data_to_tsv(file, include_units=False)
            with (folder / "table.txt").open("w") as file:
                inspector.print_data_tabular(file)


if __name__ == "__main__":
    main()
