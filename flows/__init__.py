"""Prefect flows and the `assay` command. Wiring only: what they do is in `curate`, `train` and `evaluation`."""
