"""Raw drop to published data set version. Knows Arrow; knows neither Prefect nor torch."""

import atexit
import gc
import os

# Arrow's own choice, mimalloc, takes a gigabyte of a process's memory as soon as it is asked for a byte: of a worker's
# bound, or of `ulimit -v`. The system's allocator is as fast here. It is read when pyarrow is imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

# A process that ends looks for circles among all objects that its libraries have made: of Great Expectations that takes
# a second, of torch and trl one and a half. The system takes all memory back at once.
atexit.register(gc.freeze)
