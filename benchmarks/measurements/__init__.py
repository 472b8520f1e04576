"""One measurement a file; ``benchmarks/registry.py`` lists them."""
