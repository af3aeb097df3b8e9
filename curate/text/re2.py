"""What Arrow's regular expressions (RE2) take characters for: their Unicode is not always Python's."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def code_points(kinds: str, last: int) -> npt.NDArray[np.uint32]:
    """The code points up to `last` that are of some classes, such as `\\pL\\pM`: ascending."""
    codes = np.concatenate([np.arange(0xD800, dtype=np.uint32), np.arange(0xE000, last + 1, dtype=np.uint32)])
    every = pa.scalar(codes.tobytes().decode("utf-32-le"))
    found = pc.replace_substring_regex(every, f"[^{kinds}]+", "").as_py()
    return np.frombuffer(found.encode("utf-32-le"), np.uint32)
