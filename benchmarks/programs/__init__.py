"""The programs that benchmarks time, each a plain program of its own: ``python -m benchmarks.programs.resnet18``."""
