"""Experiments: arms of one recipe, trained with several seeds, asked the same rows."""
