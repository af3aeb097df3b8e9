"""Assay: a whole curation, as `assay curate` does it, into a fresh store.

The last line printed is a profile: seconds by stage.

    python with_assay_whole.py STORE PROCESSES RECIPE [DROP]
"""

import json
import sys

import assay


def main() -> None:
    store, processes, recipe, *drop = sys.argv[1:]
    version = assay.curate(recipe, drop=drop[0] if drop else None, store=store, workers=int(processes))
    print(json.dumps({name: round(each, 3) for name, each in version.seconds.items()}))


if __name__ == "__main__":
    main()
