"""Tables of a saved run as pandas reads them; run by the environment that has it.

``python read_tables.py FOLDER`` prints for each CSV file its number of rows, the columns that are
numbers, those that are not and hold nothing but text, and the sum of each model's times.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd


def main() -> None:
    """Print all of it."""
    found = {}
    for path in sorted(Path(sys.argv[1]).glob("*.csv")):
        table = pd.read_csv(path)
        known = table.dropna(axis="columns", how="all")
        numbers = known.select_dtypes("number").columns
        found[path.name] = {
            "rows": len(table),
            "numbers": list(numbers),
            "texts": [name for name in known.columns if name not in numbers],
            "models": table["model"].unique().tolist(),
            "time_us": table.groupby("model")["time_us"].sum().to_dict()
            if "time_us" in table
            else {},
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
