"""Run as ``python -m llmbatch``."""
