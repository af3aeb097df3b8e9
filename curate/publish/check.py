"""Check: read a published version again and prove from its files that the laws hold.

Written a second time, in plain Python, so that a mistake in the stages is not made here as well: it shares with them
the hash, and otherwise only definitions, of the manifest, the record and a shingle. Which stages ran, and in which
order, the manifest says. What is compared with what, and whether every pair was or a sample of them, is part of each
result.
"""

from pathlib import Path

from curate.manifest import DatasetManifest
from curate.progress import Progress, silent
from curate.publish.check_conserved import (
    check_files,
    check_ids,
    check_json_lines,
    check_sources,
    check_stages,
    check_version_id,
)
from curate.publish.check_drop import check_drop
from curate.publish.check_duplicates import check_duplicates
from curate.publish.check_grounded import check_grounded
from curate.publish.check_leaks import check_near_duplicates, check_shared, check_splits_stand
from curate.publish.check_result import Check
from curate.publish.check_truncated import check_lengths, check_texts
from curate.publish.published import EarlierVersions

SAMPLE = 10_000
"""Rows of validation and test that are compared with all others; of more, a sample of this size (seed 0)."""


def check_version(folder: Path, progress: Progress = silent, sample: int = SAMPLE) -> list[Check]:
    """Check a published data set version.

    Args:
        folder: the version. Earlier versions that it was compared with are looked for beside it.
        progress: told how far the comparison of all rows is.
        sample: rows of the smaller splits that are compared with all others, at most.

    Returns:
        Every check made; where a file cannot be read, only those of the files.

    Raises:
        AssayError: the folder holds no data set version.
    """
    manifest = DatasetManifest.unproven(folder)
    files = [check_files(folder, manifest), check_version_id(folder)]
    if files[0].failures and any("not readable" in offence for offence in files[0].offences):
        return files
    checks = [*files, check_stages(folder, manifest), check_sources(folder, manifest), check_drop(folder, manifest)]
    checks += [check_json_lines(folder), check_ids(folder, manifest)]
    earlier = EarlierVersions(folder, manifest)
    checks += check_shared(folder, earlier)
    if earlier.standing:
        checks.append(check_splits_stand(folder, earlier))
    checks.append(check_near_duplicates(folder, manifest, earlier, progress, sample))
    checks += [check_lengths(folder, manifest), check_texts(folder, manifest), *check_grounded(folder, manifest)]
    checks.append(check_duplicates(folder, manifest, earlier))
    return checks
