"""docling-parse, docling's own reader of PDFs: the lines of each page of each PDF of a folder; argv: folder, output."""

import json
import sys
from pathlib import Path

from docling_core.types.doc.page import TextCellUnit
from docling_parse.pdf_parser import DoclingPdfParser

folder, output = map(Path, sys.argv[1:])
parser = DoclingPdfParser(loglevel="fatal")
pages = characters = 0
with output.open("w", encoding="utf-8") as file:
    for path in sorted(folder.glob("*.pdf")):
        document = parser.load(str(path))
        found = [
            "\n".join(cell.text for cell in page.iterate_cells(unit_type=TextCellUnit.LINE)).strip()
            for _, page in document.iterate_pages()
        ]
        document.unload()
        pages, characters = pages + len(found), characters + sum(map(len, found))
        file.write(json.dumps({"name": path.name, "pages": found}) + "\n")
print(json.dumps({"pages": pages, "characters": characters}))
