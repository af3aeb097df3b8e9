"""One YAML per data set: sources, curation settings, split, templates, training and evaluation."""
