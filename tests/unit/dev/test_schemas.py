from __future__ import annotations

import pytest

from support.places import REPOSITORY
from toolchain.dev.schemas import FOLDER, SCHEMAS, schema_text


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_committed_follows_from_the_models(name: str) -> None:
    text = (REPOSITORY / FOLDER / name).read_text(encoding="utf-8")
    assert text == schema_text(SCHEMAS[name]), "run: python -m toolchain.dev.schemas"
