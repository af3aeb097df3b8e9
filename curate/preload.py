"""What workers begin with: imported once, by the server that they are forked from."""

import curate.pipeline
import curate.sets.near_dedup
import curate.sets.near_earlier  # noqa: F401
from curate.arrow import do_without_pandas

do_without_pandas()
