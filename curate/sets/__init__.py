"""Stages that judge all rows at once, and what they need."""
