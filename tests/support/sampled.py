"""A program whose Python stacks are really sampled, once for all tests that look at them."""

from __future__ import annotations

from pathlib import Path

import pytest

PROGRAM = """
    import torch
    class Slow(torch.nn.Module):
        def forward(self, x):
            return self.spin(x)
        def spin(self, x):
            for _ in range(2_000_000):
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
    from tests.support.recording import record, write_program  # late: its asserts are to be rewritten first

    folder = tmp_path_factory.mktemp("sampled")
    return record([str(write_program(folder, PROGRAM))], folder, "--python-stacks")
