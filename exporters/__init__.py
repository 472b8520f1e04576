"""Formats that other tools read, one a file; ``deepseek-prof export`` finds them by entry points: see registry.py."""
