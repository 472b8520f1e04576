"""Applies passes to the profiled program, each candidate in a process of its own, and proves what they gain."""
