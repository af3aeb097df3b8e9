"""Prefect flows, deployments and triggers. Wiring only: what they do is in `curate`, `train` and `evaluation`."""
