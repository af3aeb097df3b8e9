"""The flow that removes what of a store no run needs."""

from collections import Counter
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from pydantic import Field

from curate.garbage import KEEP_DAYS, bytes_freed, find_waste, remove_waste
from curate.store import store_at
from flows.parameters import Folder
from flows.run import mendable


@flow(name="clean-up", flow_run_name="clean-up {store}", persist_result=False)
def clean_up(
    store: Folder = "store",
    keep_days: Annotated[float, Field(ge=0)] = KEEP_DAYS,
    max_bytes: Annotated[int, Field(ge=0)] | None = None,
) -> int:
    """Remove unused cache, what was refused or taken back, and drafts, as `assay gc --yes` does; gives the bytes freed.

    Args:
        store: folder, or URL in a bucket, that Assay writes to.
        keep_days: what was asked for, refused or taken back within so many days stays.
        max_bytes: of the cache; what nobody has asked for longest goes.

    Raises:
        AssayError: a manifest of the store is damaged.
    """
    with mendable():
        target = store_at(store)
        items = find_waste(target, keep_days, max_bytes)
        size = bytes_freed(target, items)
        remove_waste(items)
    told = Counter((each.kind, each.why) for each in items)
    rows = [{"what": kind, "why": why, "number": number} for (kind, why), number in sorted(told.items())]
    create_table_artifact(key="clean-up", table=rows, description=f"Removed from {store}: {size:,} bytes")
    get_run_logger().info("Removed %s items, %s bytes", f"{len(items):,}", f"{size:,}")
    return size
