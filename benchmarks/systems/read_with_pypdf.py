"""pypdf, as its documentation says: the text of each page of each PDF of a folder; argv: folder, output."""

import json
import sys
from pathlib import Path

from pypdf import PdfReader

folder, output = map(Path, sys.argv[1:])
pages = characters = 0
with output.open("w", encoding="utf-8") as file:
    for path in sorted(folder.glob("*.pdf")):
        found = [page.extract_text().strip() for page in PdfReader(path).pages]
        pages, characters = pages + len(found), characters + sum(map(len, found))
        file.write(json.dumps({"name": path.name, "pages": found}) + "\n")
print(json.dumps({"pages": pages, "characters": characters}))
