"""Disks that are soon full, or that may not be written."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    """A folder on which `mount` has put what its arguments say; skips the test where none may mount."""
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root may mount")
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # what is mapped goes with the last view of it


@contextmanager
def disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A new folder with a file system of its own."""
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs"):
        yield folder


def fill(folder: Path, left: int) -> None:
    """Fill a disk, by a file `ballast`, until so many bytes are free."""
    with (folder / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, max(4096, shutil.disk_usage(folder).free - left))
