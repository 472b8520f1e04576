"""What tests and benchmarks share: synthetic runs and helpers for real ones."""
