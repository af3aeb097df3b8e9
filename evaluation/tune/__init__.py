"""Hyper-parameter search: adapters of one recipe with other keys of `training`, compared on validation rows."""
