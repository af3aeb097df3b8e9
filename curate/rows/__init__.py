"""Stages that judge each row by itself."""
