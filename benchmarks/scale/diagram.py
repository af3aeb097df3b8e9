"""What goes from whom to whom, as a picture: an arrow is as thick as the bytes a row that were measured.

python -m benchmarks.scale.diagram scale.json docs/scale.svg
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PARTIES = {
    "shards": ("shards", "who holds the rows"),
    "ranges": ("hash ranges", "prompts, bands"),
    "homes": ("homes", "who holds one of a pair"),
    "place": ("one place", "knows similar rows only"),
    "ids": ("id ranges", "files of the version"),
}
"""By name: what it is called, and a line below."""
ARROWS: Sequence[tuple[str, str, str, Sequence[str]]] = (
    ("shards", "ranges", "hashes of prompts and answers", ["prompts"]),
    ("ranges", "shards", "which rows are equal, which contradict", ["rows of one prompt"]),
    ("shards", "ranges", "32 bands: key and row", ["bands"]),
    ("ranges", "homes", "pairs proposed", ["pairs proposed", "crowded: pairs proposed"]),
    ("shards", "homes", "texts of the rows that travel", ["texts: asked", "texts"]),
    ("homes", "place", "pairs that are similar", ["edges"]),
    ("ranges", "place", "rows of one prompt", ["edges of one prompt"]),
    ("shards", "place", "ids and lengths of these rows", ["names: asked", "names"]),
    ("place", "shards", "cluster, reason, in favour of whom", ["verdicts"]),
    ("place", "shards", "splits of clusters; borders for rows alone", ["splits: of clusters", "splits: borders"]),
    ("shards", "ids", "rows that stay, with cluster and split", ["rows"]),
)
"""From whom, to whom, what, and the kinds of messages that it counts."""
BEFORE = "rows are read, judged one by one and signed where they lie: nothing moves"
LEFT, ACROSS, TOP, DOWN = 90, 190, 96, 46
HALO = 'stroke="white" stroke-width="4" paint-order="stroke"'
"""Around words, so that no line crosses them."""
COLOURS = {"shards": "#1565c0", "ranges": "#6a1b9a", "homes": "#00695c", "place": "#b71c1c"}


def draw(moved: Mapping[str, float], title: str) -> str:
    """The picture.

    Args:
        moved: bytes a row by kind of message.
        title: where that was measured.
    """
    width, height = 2 * LEFT + ACROSS * (len(PARTIES) - 1), TOP + DOWN * (len(ARROWS) + 1) + 50
    shown = f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {shown}>'
    marks = [
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="10" markerHeight="10" '
        f'markerUnits="userSpaceOnUse" orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for name, colour in COLOURS.items()
    ]
    lines = [head, f"<defs>{''.join(marks)}</defs>", f'<rect width="{width}" height="{height}" fill="white"/>']
    lines += [*_parties(height), f'<text x="{LEFT + 12}" y="{TOP + 14}" {HALO} fill="#333">{BEFORE}</text>']
    for number, (source, target, what, kinds) in enumerate(ARROWS, 1):
        lines += _arrow(TOP + DOWN * number + 6, source, target, what, sum(moved[kind] for kind in kinds))
    lines.append(f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle" fill="#555">{title}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _across(party: str) -> int:
    return LEFT + ACROSS * [*PARTIES].index(party)


def _parties(height: int) -> Iterator[str]:
    for name, (called, below) in PARTIES.items():
        x = _across(name)
        yield f'<path d="M{x} {TOP - 20}V{height - 36}" stroke="#bbb"/>'
        yield f'<rect x="{x - 76}" y="24" width="152" height="48" rx="6" fill="#f3f5f8" stroke="#90a4ae"/>'
        yield f'<text x="{x}" y="44" text-anchor="middle" font-weight="bold">{called}</text>'
        yield f'<text x="{x}" y="62" text-anchor="middle" fill="#555" font-size="11">{below}</text>'


def _arrow(y: int, source: str, target: str, what: str, size: float) -> Iterator[str]:
    x, to = _across(source), _across(target)
    thick, ahead = 1 + size / 30, 1 if to > x else -1
    colour = COLOURS[source]
    yield f'<path d="M{x} {y}H{to - 9 * ahead}" stroke="{colour}" stroke-width="{thick:.1f}" opacity="0.75"/>'
    yield f'<path d="M{to - 10 * ahead} {y}H{to}" stroke="none" fill="none" marker-end="url(#{source})"/>'
    begin = min(x, to) + (8 if to > x else 18)
    shown = f"{size:,.0f}" if size >= 10 else f"{size:.1f}"
    yield (
        f'<text x="{begin}" {HALO} y="{y - 5 - thick / 2:.1f}"><tspan font-weight="bold">{shown} B</tspan>'
        f"<tspan> {what}</tspan></text>"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.diagram", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("scale", type=Path, help="what `python -m benchmarks.scale` has printed")
    parser.add_argument("picture", type=Path, help="SVG to write")
    options = parser.parse_args(arguments)
    run = json.loads(options.scale.read_text().splitlines()[-1])["runs"][-1]
    moved = {kind: each["moved"] for kind, each in run["bytes_a_row"].items()}
    title = f"Bytes a row between workers, of {run['rows']:,} rows held by {run['workers']} workers"
    options.picture.write_text(draw(moved, title))


if __name__ == "__main__":
    main()
