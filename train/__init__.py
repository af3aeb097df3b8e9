"""Data set version to adapter. Knows torch, transformers, peft, trl and bitsandbytes; does not know Prefect."""
