"""What pyarrow is asked to leave undone: copies of what lies in one piece already, and the import of pandas."""

import sys

import pyarrow as pa


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, without a copy where it is one already (`combine_chunks` always makes one)."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def do_without_pandas() -> None:
    """Keep pyarrow from importing pandas until it is needed: a fifth of a second at the start of a process.

    The first time that pyarrow is to make an array or a scalar of anything it imports pandas, only to ask whether it is
    given something of pandas'. Where it finds none it does not ask again, but still imports it for `to_pandas`. For the
    start of processes of our own, before there are threads; others may count on pyarrow's knowing a Series.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas)
        try:
            pa.scalar(0)
        finally:
            sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """Finds no pandas. (An entry None in `sys.modules` does not keep compiled code from importing it.)"""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)
