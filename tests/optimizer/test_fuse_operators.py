"""``@fuse_operators``: same results and gradients in fewer kernels, and an honest word where that cannot be."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import deepseek_prof
from deepseek_prof.errors import UsageError
from deepseek_prof.optimizer.fuse_operators import fuse_operators, fusion_of
from deepseek_prof.optimizer.kernel_count import kernels_of
from tests.support.optimizing import fresh_compiler

# Where it runs as written, results are right and prove nothing.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    with fresh_compiler():
        yield


class Plain(nn.Module):
    """Convolution, activation and pooling, then a chain of elementwise operators."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = F.max_pool2d(torch.relu(self.conv(images)), 2)
        return torch.tanh(pooled * self.scale + 1).sigmoid() / 3


@fuse_operators
class Decorated(Plain):
    """The class is decorated, and its forward inherited."""


class WithForward(nn.Module):
    """The forward is decorated."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.linear = nn.Linear(4, width)

    @fuse_operators
    def forward(self, values: torch.Tensor, *, shift: float = 0.0) -> dict[str, torch.Tensor]:
        return {"shifted": F.gelu(self.linear(values)) * 2 + shift}


def pair() -> tuple[Plain, Plain]:
    plain, decorated = Plain(), Decorated()
    decorated.load_state_dict(plain.state_dict())
    return plain, decorated


@pytest.fixture
def fused_class() -> type[nn.Module]:
    """A class of its own for a test that looks at what became of it."""

    @fuse_operators
    class Fresh(Plain):
        pass

    return Fresh


def test_fewer_kernels_than_operators(fused_class: type[nn.Module]) -> None:
    module = fused_class().eval()
    assert fusion_of(module).graphs == ()
    with torch.inference_mode():
        module(torch.randn(2, 3, 16, 16))
    (counts,) = fusion_of(module).graphs
    # convolution, relu, max_pool2d, mul, add, tanh, sigmoid, div; then the convolution of a library and one kernel,
    # and where Inductor changes the layout for the convolution one more
    assert counts.operators == 8
    assert 2 <= counts.kernels <= 3
    assert fusion_of(module).reason is None


def test_same_results_on_fresh_inputs_shapes_and_weights() -> None:
    plain, decorated = pair()
    with torch.inference_mode():
        for shape in ((2, 3, 16, 16), (2, 3, 16, 16), (5, 3, 12, 20)):
            images = torch.randn(shape)
            torch.testing.assert_close(decorated(images), plain(images))
        for module in (plain, decorated):
            module.scale.fill_(0.25)
        torch.testing.assert_close(decorated(images), plain(images))


def test_same_gradients() -> None:
    plain, decorated = pair()
    images = torch.randn(2, 3, 16, 16)
    for module in (plain, decorated):
        module(images).square().sum().backward()
    for ours, eager in zip(decorated.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, eager.grad)


def test_counts_once_a_graph_also_of_what_is_in_the_caches(fused_class: type[nn.Module]) -> None:
    class Other(Plain):
        pass

    for kind in (fused_class, fuse_operators(Other)):
        module = kind()
        module(torch.randn(2, 3, 16, 16)).sum().backward()
        assert len(fusion_of(module).graphs) == 1, "the backward is none"
    with torch.no_grad():
        module(torch.randn(2, 3, 16, 16))
    assert len(fusion_of(module).graphs) == 2


def test_keywords_and_a_dictionary() -> None:
    module = WithForward().eval()
    values = torch.randn(3, 4)
    with torch.inference_mode():
        found = module(values, shift=2.0)
        torch.testing.assert_close(found["shifted"], F.gelu(module.linear(values)) * 2 + 2.0)
    assert list(found) == ["shifted"]


def test_state_of_the_module_is_kept() -> None:
    plain, decorated = pair()
    assert list(decorated.state_dict()) == list(plain.state_dict())
    images = torch.randn(1, 3, 8, 8)
    for other in (copy.deepcopy(decorated), pickle.loads(pickle.dumps(decorated))):
        torch.testing.assert_close(other(images), plain(images))
    assert Decorated.forward.__doc__ == Plain.forward.__doc__
    assert not hasattr(Plain.forward, "__wrapped__"), "the base class is as it was"


class Branching(nn.Module):
    @fuse_operators
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if values.sum() > 0:
            return values.sin()
        return values.cos()


def test_what_cannot_be_compiled_runs_as_written_with_one_warning() -> None:
    module = Branching()
    with pytest.warns(RuntimeWarning, match=r"Branching\.forward cannot be compiled .* Unsupported: .*") as caught:
        assert torch.equal(module(torch.ones(3)), torch.ones(3).sin())
    assert [each.filename for each in caught if each.category is RuntimeWarning] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(module(-torch.ones(3)), (-torch.ones(3)).cos())
    assert "data-dependent" in str(fusion_of(module).reason).lower()
    assert fusion_of(module).graphs == ()


def test_bad_arguments_raise_the_forwards_own_error_and_settle_nothing() -> None:
    class Strict(nn.Module):
        @fuse_operators
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            if values.dim() != 2:
                raise ZeroDivisionError("two dimensions, please")
            return values @ torch.ones(4, 2) + 1

    module = Strict()
    with pytest.raises(ZeroDivisionError, match="two dimensions"):
        module(torch.ones(4))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        module(torch.ones(2, 3))
    with pytest.raises(TypeError, match="unexpected keyword"):
        module(torch.ones(2, 4), more=1)
    assert fusion_of(module).reason is None
    assert torch.equal(module(torch.ones(2, 4)), torch.full((2, 2), 5.0))
    assert len(fusion_of(module).graphs) == 1


def test_inside_a_compiled_model_it_is_a_part_of_that() -> None:
    plain, decorated = pair()
    images = torch.randn(1, 3, 8, 8)
    whole = torch.compile(nn.Sequential(decorated, nn.ReLU()), fullgraph=True)
    with torch.inference_mode():
        torch.testing.assert_close(whole(images), plain(images).relu())


def test_decorating_twice_is_decorating_once() -> None:
    forward = WithForward.forward
    assert fuse_operators(forward) is forward


@pytest.mark.parametrize("target", [int, nn.ReLU(), torch.relu])
def test_refuses_what_is_neither_class_nor_forward(target: Any) -> None:
    with pytest.raises(UsageError, match="class of modules or a forward"):
        fuse_operators(target)


def test_tells_where_nothing_is_decorated() -> None:
    with pytest.raises(UsageError, match="Linear has no fuse_operators"):
        fusion_of(nn.Linear(1, 1))


def test_decorating_does_not_wait_for_the_compiler() -> None:
    program = (
        "import sys, torch, deepseek_prof\n"
        "@deepseek_prof.fuse_operators\n"
        "class Decorated(torch.nn.ReLU): pass\n"
        "assert not {'torch._dynamo', 'torch._inductor.compile_fx', 'triton'} & set(sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_is_exported() -> None:
    assert deepseek_prof.fuse_operators is fuse_operators
    assert deepseek_prof.fusion_of is fusion_of


def test_kernels_are_counted_in_the_call_only() -> None:
    source = """
kernel = async_compile.triton('kernel', '...')
other = unrelated.thing()
def partition_0(args):
    kernel.run(1, stream=0)
    extern_kernels.addmm(1)
class Runner:
    def call(self, args):
        kernel.run(1)
        torch.ops.mkldnn._convolution_pointwise.default(1)
        empty_strided_cpu(1)
        other()
def benchmark_compiled_module(args):
    kernel.run(1)
"""
    assert kernels_of(source) == 4
