"""Reading PDFs: pages a second, and what of their words is found, beside pypdf and docling's own reader of PDFs.

Every run is a fresh process that reads the same documents one after the other and writes the text of each page as JSON
lines. The documents are made: real texts, set in Helvetica, 55 lines of 90 characters a page; or `--pdfs` names a
folder. docling's reader is docling-parse, the text layer alone; docling's pipeline around it needs models from a hub.

    python -m benchmarks.documents --documents 200 --repeats 3
"""

import argparse
import io
import json
import sys
import tarfile
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from reportlab.pdfgen.canvas import Canvas

from benchmarks import texts
from benchmarks.measure import CACHE, Run, environment, result, run, show

HERE = Path(__file__).resolve().parent
LINES, WIDTH, PAGES = 55, 90, 10
SYSTEMS: dict[str, list[str]] = {
    "assay": [],
    "pypdf": ["pypdf==7.1.1"],
    "docling-parse": ["docling-parse==7.23.1"],
}
"""What each is installed by; Assay runs where the benchmark does."""


def pages_of(text: str) -> list[list[str]]:
    """A text's lines, page by page, as far as Helvetica has its characters; ten pages at most."""
    plain = text.encode("latin-1", "ignore").decode("latin-1")
    lines = [line for each in plain.splitlines() if each.strip() for line in textwrap.wrap(each, WIDTH)]
    return [lines[at : at + LINES] for at in range(0, min(len(lines), LINES * PAGES), LINES)]


def pdf_of(pages: Sequence[Sequence[str]]) -> bytes:
    """A PDF of pages of lines."""
    file = io.BytesIO()
    canvas = Canvas(file, invariant=True)
    for lines in pages:
        text = canvas.beginText(40, 800)
        text.setFont("Helvetica", 10)
        for line in lines:
            text.textLine(line)
        canvas.drawText(text)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def sources(archive: Path | None) -> Iterator[str]:
    """Texts: the files of an archive (as those of CUAD's contracts), or of the packages installed here."""
    if archive is None:
        yield from (path.read_text(encoding="utf-8", errors="replace") for path in texts.sources())
        return
    with tarfile.open(archive) as members:
        for member in members:
            if member.name.endswith(".txt") and (content := members.extractfile(member)) is not None:
                yield content.read().decode(errors="replace")


def make(folder: Path, count: int, archive: Path | None) -> dict[str, Counter[str]]:
    """Write documents; the words of each by its name."""
    words = {}
    given = sources(archive)
    while len(words) < count:
        pages = pages_of(next(given))
        if pages:
            name = f"{len(words):05}.pdf"
            (folder / name).write_bytes(pdf_of(pages))
            words[name] = Counter(word for lines in pages for line in lines for word in line.split())
    return words


def found_share(words: dict[str, Counter[str]], output: Path) -> float:
    """The share of the documents' words that stand in what was read of them."""
    found = 0
    for line in output.read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        found += (words[document["name"]] & Counter(" ".join(document["pages"]).split())).total()
    return found / sum(each.total() for each in words.values())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.documents", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--texts", type=Path, help="an archive of texts, such as CUAD's full_contract_txt.tar.xz")
    parser.add_argument("--pdfs", type=Path, help="a folder of documents to read in place of made ones")
    parser.add_argument("--systems", nargs="+", choices=[*SYSTEMS], default=[*SYSTEMS])
    parser.add_argument("--peers", type=Path, default=CACHE, help="environments of the peers")
    parser.add_argument("--quick", action="store_true", help="a few documents, Assay alone, once")
    options = parser.parse_args(arguments)
    if options.quick:
        options.documents, options.repeats, options.systems = 3, 1, ["assay"]
    pythons = {
        name: environment(options.peers, name, SYSTEMS[name]) if SYSTEMS[name] else Path(sys.executable)
        for name in options.systems
    }
    runs: dict[str, list[Run]] = {name: [] for name in options.systems}
    with tempfile.TemporaryDirectory(prefix="documents-") as scratch:
        folder, output = options.pdfs or Path(scratch) / "pdfs", Path(scratch) / "read.jsonl"
        words: dict[str, Counter[str]] = {}
        if options.pdfs is None:
            folder.mkdir()
            words = make(folder, options.documents, options.texts)
        found: dict[str, dict[str, Any]] = {}
        for _ in range(options.repeats):
            for name in options.systems:
                script = HERE / "systems" / f"read_with_{name.replace('-', '_')}.py"
                variables = {"PYTHONPATH": str(HERE.parent)} if name == "assay" else {}
                done = run([pythons[name], script, folder, output], variables)
                runs[name].append(done)
                found[name] = json.loads(done.output.splitlines()[-1])
                if words:
                    found[name]["words"] = round(found_share(words, output), 4)
                print(f"{name}: {done.seconds:.2f} s", flush=True)
        size = sum(path.stat().st_size for path in folder.glob("*.pdf"))
    report({"documents": len(words) or options.pdfs.name, "bytes": size}, runs, found)


def report(given: dict[str, Any], runs: dict[str, list[Run]], found: dict[str, dict[str, Any]]) -> None:
    """Print the table and the result.

    Args:
        given: what was read.
        runs: of each system.
        found: `pages`, `characters`, and the share of the words where it is known, by system.
    """
    table = []
    for name, of_one in runs.items():
        seconds, processor = (median(getattr(each, kind) for each in of_one) for kind in ("seconds", "processor"))
        peak, told = max(each.peak_mib for each in of_one), found[name]
        rate = [f"{told['pages'] / each:,.0f}" for each in (seconds, processor)]
        words = f"{told['words']:.1%}" if "words" in told else ""
        table.append([name, seconds, *rate, f"{peak:,.0f}", told["pages"], f"{told['characters']:,}", words])
    columns = ["", "seconds", "pages/s", "pages/s of processor", "peak MiB", "pages", "characters", "words found"]
    show(f"{given['documents']} documents, {given['bytes'] / 1e6:.1f} MB", columns, table)
    print(result("documents", given, runs, found=found))


if __name__ == "__main__":
    main()
