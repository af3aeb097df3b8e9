"""What tests of readers share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from curate.read.raw import Row, Unread
from tests.curate.read.made import rows_of


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., list[Row | Unread]]:
    """Write bytes under a name and read them."""

    def write(name: str, content: bytes | str, format: str | None = None) -> list[Row | Unread]:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return rows_of(tmp_path / name, format)

    return write
