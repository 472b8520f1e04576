"""The parts of training candidates in one process: steps, losses, the nudge, and how many steps are run."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from deepseek_prof.errors import UsageError
from deepseek_prof.optimizer.channel import Channel
from deepseek_prof.optimizer.passes import handler
from deepseek_prof.optimizer.passes.dataloader import DataLoading
from deepseek_prof.optimizer.passes.optimizer import FusedOptimizer
from deepseek_prof.optimizer.passes.threads import Threads, cores
from deepseek_prof.optimizer.probing import draws_random, unseen
from deepseek_prof.optimizer.protocol import Profile
from deepseek_prof.optimizer.rounds import ROUND_NS, Taken, repeats_for
from deepseek_prof.optimizer.timing import Samples, ratio_of
from deepseek_prof.optimizer.training import Training, nudge
from deepseek_prof.optimizer.training_measure import _figure, plan
from deepseek_prof.optimizer.training_steps import StepEnds
from tests.support.optimizing import captured, positional


def test_a_step_ends_with_the_last_optimizer_of_the_cycle() -> None:
    ends, first, second = StepEnds(), object(), object()
    assert [ends.ends(each) for each in (first, second, first, second, first, second)] == [
        False, False, False, True, False, True,
    ]  # fmt: skip


def test_losses_are_those_that_outermost_backward_passes_begin_from() -> None:
    code = (
        "import torch\n"
        "from torch.utils.checkpoint import checkpoint\n"
        "from deepseek_prof.optimizer.training_steps import watch_losses\n"
        "seen = []\n"
        "watch_losses(lambda loss: seen.append(float(loss)))\n"
        "x = torch.ones(3, requires_grad=True)\n"
        "(2 * x).sum().backward()\n"
        "checkpoint(lambda y: 3 * y, x, use_reentrant=True).sum().backward()\n"
        "torch.autograd.backward([x.sum(), (4 * x).sum()])\n"
        "assert seen == [6.0, 9.0, 15.0], seen\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_the_nudge_changes_every_weight_by_the_last_place_of_its_tensor() -> None:
    module = nn.Linear(64, 64)
    before = module.weight.detach().clone()
    state = torch.get_rng_state()
    nudge(module)
    apart = (module.weight.detach() - before).abs() / before.square().mean().sqrt()
    assert float(apart.min()) > 0
    assert float(apart.max()) <= 2 * torch.finfo(torch.float32).eps
    assert torch.equal(torch.get_rng_state(), state)


def test_a_message_that_is_not_known_is_refused_and_takes_no_step() -> None:
    ours, theirs = (Channel(each) for each in socket.socketpair())
    training = Training(theirs, {"passes": [], "file": None, "warm": 0})
    ours.send({"do": "rest"})
    ours.send({"do": "round", "repeats": 2})
    training._converse()
    assert ours.receive() == {"status": "failed", "reason": "no message 'rest'"}
    assert training._left == 2


def test_where_the_parent_has_gone_the_program_ends_without_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (Channel(each) for each in socket.socketpair())
    training = Training(theirs, {"root": "Net", "passes": [], "file": None, "warm": 1, "nudge": False})
    module = nn.Linear(2, 2)
    ours.close()
    monkeypatch.setattr("os._exit", sys.exit)
    for tell in (training._step_ended, lambda: training._reached(module, positional(torch.ones(2)))):
        with pytest.raises(SystemExit) as ended:
            tell()
        assert ended.value.code == 1


def test_an_unseen_call_leaves_buffers_that_were_made_in_inference_mode() -> None:
    with torch.inference_mode():
        module = nn.BatchNorm1d(3)
    mean = module.running_mean
    assert mean is not None
    before = mean.clone()
    with torch.inference_mode(), unseen(module):
        module(torch.randn(8, 3))
        assert not torch.equal(mean, before)
    with unseen(module):  # outside of it too
        pass
    assert torch.equal(mean, before)


def test_an_unseen_call_leaves_random_numbers_and_buffers() -> None:
    norm = nn.BatchNorm1d(8)
    module = nn.Sequential(norm, nn.Dropout(0.5))
    state = torch.get_rng_state()
    with unseen(module):
        module(torch.randn(4, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert norm.running_mean is not None
    assert torch.equal(norm.running_mean, torch.zeros(8))
    assert norm.num_batches_tracked is not None
    assert int(norm.num_batches_tracked) == 0


@pytest.mark.parametrize(("rate", "draws"), [(0.5, True), (0.0, False)])
def test_dropout_is_seen_by_what_it_draws(rate: float, draws: bool) -> None:
    subject = captured(nn.Sequential(nn.Linear(8, 8), nn.Dropout(rate)), positional(torch.ones(2, 8)))
    assert draws_random(subject) == draws


@pytest.mark.parametrize(
    ("steps", "step_ns", "budget_s", "rounds", "repeats"),
    [(150, 20e6, 600, 30, 3), (150, 1e9, 600, 20, 1), (1000, 1e6, 600, 30, 33), (11, 20e6, 600, 5, 1)],
)
def test_steps_fit_the_program_and_the_budget(
    steps: int, step_ns: float, budget_s: float, rounds: int, repeats: int
) -> None:
    assert plan(steps, step_ns, budget_s).rounds(30, 0) == (rounds, repeats)
    assert rounds * repeats <= steps


def test_a_round_holds_what_workers_bring_at_once() -> None:
    found = plan(150, 20e6, 600.0)
    assert found.rounds(30, 4) == (18, 8)
    assert found.rounds(8, 4) == (8, 8)
    assert found.rounds(30, 32)[0] < 5


def test_a_step_that_waits_for_all_batches_counts_with_those_that_do_not() -> None:
    steady, bursts = Taken(Samples([[100] * 8] * 6), [1] * 6), Taken(Samples([[10, 10, 10, 370] * 2] * 6), [2] * 6)
    assert ratio_of(_figure(steady, "latency"), _figure(bursts, "latency")).median == pytest.approx(1.0)
    assert ratio_of(_figure(steady, "memory"), _figure(bursts, "memory")).median == pytest.approx(0.5)


def test_a_round_repeats_what_is_short() -> None:
    taken = (0, 1, ROUND_NS / 7, 2 * ROUND_NS)
    assert [repeats_for(each, 100) for each in taken] == [100, 100, 7, 1]


def test_too_few_steps_are_said() -> None:
    with pytest.raises(UsageError, match="at least 11"):
        plan(10, 1e6, 600.0)


def test_predictions_come_from_the_phases() -> None:
    quarter = Profile(phase_shares={"optimizer": 0.5, "data": 0.5})
    assert handler("optimizer").predicted_gain(FusedOptimizer(), quarter) == pytest.approx(1 / 0.65)
    assert handler("optimizer").predicted_gain(FusedOptimizer(), Profile()) == 1.0
    assert handler("dataloader").predicted_gain(DataLoading(2), quarter) == pytest.approx(2.0)
    assert handler("dataloader").predicted_gain(DataLoading(2), Profile()) == 1.0
    few = Profile(findings=("too-few-threads",))
    assert handler("threads").predicted_gain(Threads(1), few) < 1 < handler("threads").predicted_gain(Threads(8), few)


def test_configs_stay_within_the_cores() -> None:
    numbers = [each.intra_op or each.inter_op for each in handler("threads").configs()]
    assert set(numbers) <= set(range(1, cores() + 1))
    assert any(each.inter_op for each in handler("threads").configs())
    assert all(each.num_workers <= cores() for each in handler("dataloader").configs())


def test_threads_between_operators_are_set_and_told() -> None:
    code = (
        "import torch\n"
        "from torch import nn\n"
        "from deepseek_prof.optimizer.passes.threads import Threads, ThreadsHandler\n"
        "from deepseek_prof.optimizer.protocol import Call, Captured\n"
        "torch.set_num_interop_threads(3)\n"
        "module = nn.Linear(2, 2)\n"
        "subject = Captured(module, (Call((torch.ones(1, 2),), {}),), True, 'cpu')\n"
        "assert 'has 3 between operators' in ThreadsHandler().refusal(Threads(0, 3), subject)\n"
        "try:\n"
        "    ThreadsHandler().apply(Threads(0, 1), module, subject)\n"
        "except RuntimeError as error:\n"
        "    assert 'interop threads' in str(error)\n"
        "else:\n"
        "    raise AssertionError('the number was fixed')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    code = (
        "import torch\n"
        "from deepseek_prof.optimizer.passes.threads import Threads, ThreadsHandler\n"
        "applied = ThreadsHandler().apply(Threads(0, torch.get_num_interop_threads() + 1), None, None)\n"
        "assert 'between operators' in applied.fired()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
