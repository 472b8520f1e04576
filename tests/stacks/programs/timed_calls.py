"""Prints when two functions were entered and left, by CLOCK_MONOTONIC: 40 calls, or as many as it is told."""

import sys
import time

import torch


def busy(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def odd():
    busy(0.1)


def even():
    busy(0.1)


if __name__ == "__main__":
    torch.ones(2).add_(1)
    for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 40):
        function = odd if number % 2 else even
        entered_ns = time.monotonic_ns()
        function()
        print(function.__name__, entered_ns, time.monotonic_ns())
