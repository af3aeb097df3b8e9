"""A full disk, as the libraries that training writes with tell of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from curate.errors import explained
from tests.disks import disk

WRITERS: dict[str, Callable[[Path], object]] = {
    "safetensors": lambda path: save_file({"weights": torch.zeros(1_000_000)}, path),
    "torch": lambda path: torch.save(torch.zeros(1_000_000), path),
    "numpy": lambda path: np.save(path, np.zeros(1_000_000)),
    "tokenizers": lambda path: Tokenizer(models.BPE({f"a{i}": i for i in range(100_000)}, [])).save(str(path)),
    "python": lambda path: path.write_bytes(bytes(4_000_000)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_whichever_library_finds_it_full_the_message_says_what_to_do(name: str, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 1) as folder, pytest.raises(Exception) as caught:  # noqa: PT011  # each has its own
        WRITERS[name](folder / "file.npy")
    told = explained(caught.value)
    assert told is not None
    assert "No space left on device. Nothing half-made was published." in told.message
    assert "run the same command again" in told.remedy
