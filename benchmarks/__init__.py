"""Benchmarks of the bars that deepseek-prof holds itself to: ``python -m benchmarks``."""
