"""Kernels over text, and what is known of it."""
