"""Assay: the curation flow in this process, with the server that PREFECT_API_URL names or else a temporary one.

python with_assay_flow.py RECIPE STORE PROCESSES
"""

import os
import sys

from curate.progress import silent
from flows.server import prefect_api


def main() -> None:
    recipe, store, processes = sys.argv[1:]
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with prefect_api(silent):
        from flows.curation import curation

        curation(recipe, store, workers=int(processes))


if __name__ == "__main__":
    main()
