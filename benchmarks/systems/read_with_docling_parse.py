"""docling-parse, docling's own reader of PDFs: the lines of each page of each PDF of a folder; argv: folder, output."""

import json
import sys
from pathlib import Path

from docling_core.types.doc.page import TextCellUnit
from docling_parse.pdf_parser import ContentConfig, ContentLevel, DoclingPdfParser

folder, output = map(Path, sys.argv[1:])
parser = DoclingPdfParser(loglevel="fatal")
lines = ContentConfig(  # no more than what is asked for
    char_cells_content_level=ContentLevel.COMPUTE,
    word_cells_content_level=ContentLevel.SKIP,
    line_cells_content_level=ContentLevel.COMPUTE_AND_MATERIALIZE,
    shapes_content_level=ContentLevel.SKIP,
    bitmaps_content_level=ContentLevel.SKIP,
)
pages = characters = 0
with output.open("w", encoding="utf-8") as file:
    for path in sorted(folder.glob("*.pdf")):
        document = parser.load(str(path), content_config=lines)
        found = [
            "\n".join(cell.text for cell in page.iterate_cells(unit_type=TextCellUnit.LINE)).strip()
            for _, page in document.iterate_pages()
        ]
        document.unload()
        pages, characters = pages + len(found), characters + sum(map(len, found))
        file.write(json.dumps({"name": path.name, "pages": found}) + "\n")
print(json.dumps({"pages": pages, "characters": characters}))
