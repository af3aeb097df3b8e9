"""One folder per data set: `contract.yaml` and `target.schema.json`, what a row and a whole set must satisfy."""
