"""A program whose Python stacks are really sampled, once for all tests that look at them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recording import record, write_program

# Its imports read files, which can take seconds where much else is read: the function outlasts them whatever they take.
PROGRAM = """
    import time
    began = time.monotonic()
    import torch
    each_s = max(0.05, 0.25 * (time.monotonic() - began))
    class Slow(torch.nn.Module):
        def forward(self, x):
            return self.spin(x)
        def spin(self, x):
            end = time.monotonic() + each_s
            while time.monotonic() < end:
                pass
            return x * 2
    net = torch.nn.Sequential(Slow(), torch.nn.Linear(64, 8))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(12):
        net(torch.randn(64, 64)).sum().backward()
        optimizer.step()
"""


@pytest.fixture(scope="session")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a program of which one function, ``Slow.spin``, takes nearly all time."""
    folder = tmp_path_factory.mktemp("sampled")
    return record([str(write_program(folder, PROGRAM))], folder, "--python-stacks")
