"""Assay: each PDF of a folder as a run reads it, by a process of its own with bounds; argv: folder, output."""

import json
import sys
from pathlib import Path

from curate.read.documents.reader import read_document
from curate.read.raw_row import Document

folder, output = map(Path, sys.argv[1:])
pages = characters = 0
with output.open("w", encoding="utf-8") as file:
    for path in sorted(folder.glob("*.pdf")):
        for row in read_document(path.read_bytes(), "pdf", path.name):
            if isinstance(row, dict) and isinstance(text := row["text"], Document):
                ends = [*text.pages[1:], len(text)]
                found = [text[begin:end].strip() for begin, end in zip(text.pages, ends, strict=True)]
                pages, characters = pages + len(found), characters + sum(map(len, found))
                file.write(json.dumps({"name": path.name, "pages": found}) + "\n")
print(json.dumps({"pages": pages, "characters": characters}))
