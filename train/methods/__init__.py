"""Methods: what of a model is trained by the recipe's `training.method`; a file each."""
