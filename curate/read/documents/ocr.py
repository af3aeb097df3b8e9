"""OCR: what stands on a page of a PDF that has no text, by RapidOCR, whose models its package brings.

An extra (`pip install "assay-curation[ocr]"`), off unless a recipe's source says `ocr: true`: it takes a second or more
a page, and what it reads is likely, not sure.
"""

from functools import cache
from typing import Any

from curate.read.documents.bounds import more_time

DPI = 150
"""Of the picture that is made of a page; a line of 8 points is then 17 pixels high."""
LONGEST_SIDE = 4000
"""Pixels."""


def recognised(page: Any) -> str:
    """The lines of a page of pypdfium2, from top to bottom; empty where none are found."""
    more_time()
    width, height = page.get_size()
    scale = min(DPI / 72, LONGEST_SIDE / max(width, height, 1))
    picture = page.render(scale=scale, rev_byteorder=True).to_numpy()
    return "\n".join(_engine()(picture[:, :, :3]).txts or ())


@cache
def _engine() -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(params={"EngineConfig.onnxruntime.intra_op_num_threads": 1, "Global.log_level": "critical"})
