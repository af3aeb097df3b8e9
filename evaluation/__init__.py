"""Adapter and test split to scorecard. Does not know Prefect."""
