"""The command and the Python door: a thin skin over the packages."""
