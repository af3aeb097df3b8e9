"""What a call of the door gives: a line at a prompt, tables in a terminal or a notebook, data for a machine."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.table import Table


class Result:
    """Something that was made, found or checked."""

    def tables(self) -> "list[Table]":
        """What is told of it."""
        raise NotImplementedError

    def data(self) -> dict[str, Any]:
        """What `--json` writes: numbers, texts, lists and dicts; paths may be among them."""
        raise NotImplementedError

    def places(self) -> dict[str, Path]:
        """Where what was made lies, by what it is."""
        return {}

    def require(self) -> None:
        """Stop where the result is not as it should be; here it always is.

        Raises:
            AssayError: says what is not, and what to do.
        """

    def _repr_html_(self) -> str:
        """For notebooks."""
        return "\n".join(table.html() for table in self.tables())


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: a path as its text, what is no finite number as null."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)
