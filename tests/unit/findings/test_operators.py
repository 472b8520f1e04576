"""Rules on operators: small, memory-bound, unfused, copied, laid out badly, read back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deepseek_prof.analysis.findings.conv_layout import conv_layout
from deepseek_prof.analysis.findings.copies import copies
from deepseek_prof.analysis.findings.eager_graph import eager_graph
from deepseek_prof.analysis.findings.small_operators import small_operators
from deepseek_prof.analysis.findings.synchronisation import synchronisation
from deepseek_prof.analysis.findings.unfused_attention import unfused_attention
from deepseek_prof.model import Kind, Phase
from tests.support.synthetic_step import StepTemplate
from tests.unit.findings.conftest import Record
from tests.unit.findings.drawing import Draw, autograd, module, operator, product


def _small(us: float, times: int = 300, python_us: float = 0) -> Draw:
    def draw(step: StepTemplate, _: int) -> None:
        module(step, "Net", lambda: operator(step, "aten::add", us, times=times), python_us)
        product(step, 100)

    return draw


def test_many_small_operators_are_found(record: Record) -> None:
    found = small_operators(record(_small(2)))
    assert found is not None
    assert found.gain_low == pytest.approx(0.25 * 600 / 700, rel=0.01)
    assert found.gain_high == pytest.approx(0.75 * 600 / 700, rel=0.01)
    assert "301 operators a step" in found.evidence[0]
    assert "aten::add (300 a step)" in found.evidence[2]
    assert "torch.compile" in found.advice


def test_a_compiled_program_is_pointed_to_cuda_graphs(record: Record) -> None:
    def draw(step: StepTemplate, index: int) -> None:
        with step.span("Torch-Compiled Region: 0/0", Kind.USER, Phase.FORWARD):
            _small(2)(step, index)

    found = small_operators(record(draw))
    assert found is not None
    assert "reduce-overhead" in found.advice


@pytest.mark.parametrize(
    "draw", [_small(6), _small(2, times=198), _small(2, python_us=700)], ids=["large", "few", "mostly Python"]
)
def test_other_operators_are_not_small(record: Record, draw: Draw) -> None:
    assert small_operators(record(draw)) is None


def test_small_operators_that_take_little_are_none(record: Record) -> None:
    def draw(step: StepTemplate, index: int) -> None:
        _small(2)(step, index)
        product(step, 1000)

    assert small_operators(record(draw)) is None


def test_small_operators_need_steps(record: Record) -> None:
    assert small_operators(record(_small(2), with_steps=False)) is None


def _chain(length: int, us: float = 100, between: str = "aten::view", product_us: float = 400) -> Draw:
    def draw(step: StepTemplate, _: int) -> None:
        product(step, product_us)
        for name in ("aten::add", "aten::mul", "aten::gelu", "aten::exp", "aten::tanh")[:length]:
            operator(step, name, us, layer="block.0.act")
            operator(step, between, 1)

    return draw


def test_a_chain_of_memory_bound_operators_is_found(record: Record) -> None:
    found = eager_graph(record(_chain(4)))
    assert found is not None
    assert found.gain_low == 0
    assert found.gain_high == pytest.approx(0.5 * 3 / 4, rel=0.02)
    assert "4 element-wise" in found.evidence[0]
    assert "1 chains" in found.evidence[0]
    assert "block.0 forward" in found.evidence[1]


@pytest.mark.parametrize(
    "draw",
    [_chain(2, 300), _chain(5, 100, between="aten::mm"), _chain(3, 4), _chain(3, 30)],
    ids=["two in a row", "products between", "small", "little time"],
)
def test_other_operators_are_no_chain(record: Record, draw: Draw) -> None:
    assert eager_graph(record(draw)) is None


def test_one_interruption_makes_no_chain(record: Record) -> None:
    def draw(step: StepTemplate, index: int) -> None:
        product(step, 400)
        operator(step, "aten::add", 5_000 if index == 5 else 20)
        operator(step, "aten::add", 20, times=3)

    assert eager_graph(record(draw)) is None


def test_what_an_operator_calls_for_itself_is_no_chain(record: Record) -> None:
    def draw(step: StepTemplate, _: int) -> None:
        with step.span("aten::batch_norm", Kind.OP, Phase.FORWARD, "norm"):
            operator(step, "aten::native_batch_norm", 100)
        with step.span("aten::relu", Kind.OP, Phase.FORWARD, "act"):
            operator(step, "aten::clamp_min", 100)

    assert eager_graph(record(draw)) is None


def test_a_new_phase_ends_a_chain(record: Record) -> None:
    def draw(step: StepTemplate, _: int) -> None:
        operator(step, "aten::add", 100, times=2)
        autograd(step, "MulBackward0", (("aten::mul", 100), ("aten::mul", 100)))

    assert eager_graph(record(draw)) is None


def test_what_is_compiled_is_no_eager_graph(record: Record) -> None:
    def draw(step: StepTemplate, index: int) -> None:
        with step.span("Torch-Compiled Region: 0/0", Kind.USER, Phase.FORWARD):
            _chain(4)(step, index)

    assert eager_graph(record(draw)) is None
    assert eager_graph(record(_chain(4), with_steps=False)) is None


def _attention(softmaxes: int = 1, products: int = 2, us: float = 50, layer: str | None = "block.attention") -> Draw:
    def draw(step: StepTemplate, _: int) -> None:
        product(step, 500)
        operator(step, "aten::bmm", us, times=products, layer=layer)
        operator(step, "aten::_softmax", us, times=softmaxes, layer=layer)

    return draw


def test_unfused_attention_is_found(record: Record) -> None:
    found = unfused_attention(record(_attention()))
    assert found is not None
    share = 150 / 650
    assert (found.gain_low, found.gain_high) == pytest.approx((0.2 * share, 0.8 * share), rel=0.01)
    assert "block.attention" in found.evidence[0]


@pytest.mark.parametrize(
    "draw",
    [_attention(products=1), _attention(softmaxes=0), _attention(us=10), _attention(layer=None)],
    ids=["one product", "no softmax", "little time", "outside layers"],
)
def test_other_products_are_no_attention(record: Record, draw: Draw) -> None:
    assert unfused_attention(record(draw)) is None


def test_fused_attention_is_fused(record: Record) -> None:
    def draw(step: StepTemplate, index: int) -> None:
        with step.span("aten::scaled_dot_product_attention", Kind.OP, Phase.FORWARD, "block.attention"):
            _attention()(step, index)

    assert unfused_attention(record(draw)) is None


def _copying(around: str | None, name: str = "aten::clone", us: float = 40, times: int = 6) -> Draw:
    def draw(step: StepTemplate, _: int) -> None:
        product(step, 1000)
        if around is None:
            operator(step, name, us, times=times)
        else:
            operator(step, around, 1, times=times, inside=((name, us),))

    return draw


@pytest.mark.parametrize(("around", "cause"), [(None, "clone"), ("aten::reshape", "memory layout in aten::reshape")])
def test_copies_are_found(record: Record, around: str | None, cause: str) -> None:
    found = copies(record(_copying(around)))
    assert found is not None
    assert found.gain_low == 0
    assert found.gain_high == pytest.approx(0.9 * 240 / 1240, rel=0.02)
    assert cause in found.evidence[1]


@pytest.mark.parametrize(
    "draw",
    [_copying("aten::addmm", "aten::copy_"), _copying(None, us=10), _copying(None, us=100, times=4)],
    ids=["bias of a product", "little time", "few"],
)
def test_other_copies_are_none(record: Record, draw: Draw) -> None:
    assert copies(record(draw)) is None


@pytest.mark.parametrize(
    ("node", "found"), [("ViewBackward0", False), ("torch::autograd::AccumulateGrad", False), ("ToCopyBackward0", True)]
)
def test_backward_copies_count_where_forward_ones_were_asked_for(record: Record, node: str, found: bool) -> None:
    def draw(step: StepTemplate, _: int) -> None:
        product(step, 1000)
        for _copy in range(6):
            autograd(step, node, (("aten::_to_copy", 40),))

    assert (copies(record(draw)) is not None) is found


def _convolutions(dense: int, of: int = 4, us: float = 100) -> Draw:
    def draw(step: StepTemplate, _: int) -> None:
        product(step, 400)
        for index in range(of):
            with step.span("aten::conv2d", Kind.OP, Phase.FORWARD, f"features.{index}"):
                inside = (("aten::as_strided_", 1.0),) if index < dense else ()
                operator(step, "aten::mkldnn_convolution", us, inside=inside)

    return draw


def test_contiguous_convolutions_are_found(record: Record) -> None:
    found = conv_layout(record(_convolutions(dense=3)))
    assert found is not None
    assert found.gain_low == 0
    assert found.gain_high == pytest.approx(0.4 * 0.5 * 0.75, rel=0.02)
    assert "75 % of 4 oneDNN convolutions" in found.evidence[1]
    assert "features.0" in found.evidence[2]
    assert "channels_last" in found.advice


@pytest.mark.parametrize(
    "draw", [_convolutions(dense=1), _convolutions(dense=4, us=15)], ids=["mostly channels-last", "little time"]
)
def test_other_convolutions_are_none(record: Record, draw: Draw) -> None:
    assert conv_layout(record(draw)) is None


def test_a_layout_that_cannot_be_told_is_not_guessed(record: Record) -> None:
    def draw(step: StepTemplate, _: int) -> None:
        operator(step, "aten::conv2d", 1, inside=(("aten::_slow_conv2d_forward", 500),))

    assert conv_layout(record(draw)) is None


def _reading(times: int, us: float = 1.0, phase: Phase = Phase.FORWARD, name: str = "aten::item") -> Draw:
    def draw(step: StepTemplate, _: int) -> None:
        product(step, 400)
        operator(step, name, us, times=times, phase=phase, inside=(("aten::_local_scalar_dense", 1.0),))

    return draw


def test_values_read_back_are_found_once(record: Record) -> None:
    found = synchronisation(record(_reading(20)))
    assert found is not None
    assert found.title.startswith("20 values a step")
    share = 40 / 440
    assert (found.gain_low, found.gain_high) == pytest.approx((0.8 * share, 2 * share), rel=0.02)


def test_on_cuda_a_read_waits_for_work_that_must_be_done(record: Record) -> None:
    def draw(step: StepTemplate, index: int) -> None:
        _reading(20)(step, index)
        operator(step, "cudaLaunchKernel", 1)

    found = synchronisation(record(draw))
    assert found is not None
    assert (found.gain_low, found.gain_high) == pytest.approx((0, 0.5 * 40 / 441), rel=0.02)


@pytest.mark.parametrize(
    "draw",
    [_reading(1), _reading(9), _reading(12, us=0.4, name="aten::equal"), _reading(20, phase=Phase.OPTIMIZER)],
    ids=["one", "nine", "cheap", "in the optimizer"],
)
def test_few_reads_are_none(record: Record, draw: Callable[[StepTemplate, int], None]) -> None:
    def with_more(step: StepTemplate, index: int) -> None:
        draw(step, index)
        product(step, 2000)

    assert synchronisation(record(with_more)) is None
    assert synchronisation(record(_reading(20), with_steps=False)) is None
