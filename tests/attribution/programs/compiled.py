"""Graph capture: torch.compile, torch.jit, torch.fx and torch.export. The facts of each case must not depend on us."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch._dynamo
from harness import main
from torch import Tensor, nn

warnings.filterwarnings("ignore")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(x))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Broken(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks[0](x)
        torch._dynamo.graph_break()
        return self.head(self.blocks[1](x))


def train(model: Any, times: int, rows: int = 3) -> list[float]:
    losses = []
    for _ in range(times):
        loss = model(torch.randn(rows, 8)).sum()
        loss.backward()
        losses.append(round(loss.item(), 3))
    return losses


def dynamo_facts() -> dict[str, Any]:
    counters = torch._dynamo.utils.counters
    frames = counters["frames"]
    return {
        "frames": dict(frames),
        "graph_breaks": sum(counters["graph_break"].values()),
        "unique_graphs": counters["stats"]["unique_graphs"],
        "calls_captured": counters["stats"]["calls_captured"],
    }


def without_frames(facts: dict[str, Any]) -> dict[str, Any]:
    """Leaves out how many frames were looked at: the one that runs the optimizer's hooks, without a tensor, is ours."""
    return {key: value for key, value in facts.items() if key != "frames"}


def case_explain() -> dict[str, Any]:
    explained = torch._dynamo.explain(Net())(torch.randn(3, 8))
    return {
        "graphs": explained.graph_count,
        "breaks": explained.graph_break_count,
        "operators": explained.op_count,
        "guards": len(explained.out_guards or []),
    }


def case_compiled() -> dict[str, Any]:
    torch._dynamo.config.error_on_recompile = True
    losses = train(torch.compile(Net(), backend="aot_eager", fullgraph=True), 4)
    return dynamo_facts() | {"losses": losses}


def case_compiled_in_place() -> dict[str, Any]:
    torch._dynamo.config.error_on_recompile = True
    model = Net()
    model.compile(backend="eager", fullgraph=True)
    losses = train(model, 4)
    return dynamo_facts() | {"losses": losses}


def case_compiled_after_eager() -> dict[str, Any]:
    model = Net()
    train(model, 1)
    losses = train(torch.compile(model, backend="eager", fullgraph=True), 3)
    return dynamo_facts() | {"losses": losses}


def case_compiled_block() -> dict[str, Any]:
    model = Net()
    for i in range(2):
        model.blocks[i] = torch.compile(model.blocks[i], backend="aot_eager", fullgraph=True)  # type: ignore[assignment]  # as torch documents it
    losses = train(model, 3)
    return dynamo_facts() | {"losses": losses}


def case_compiled_function() -> dict[str, Any]:
    model = Net()

    def step(x: Tensor) -> Tensor:
        return model(x).square().sum()

    fast = torch.compile(step, backend="eager", fullgraph=True)
    for _ in range(3):
        fast(torch.randn(3, 8)).backward()
    return dynamo_facts()


def case_compiled_with_break() -> dict[str, Any]:
    losses = train(torch.compile(Broken(), backend="eager"), 3)
    return dynamo_facts() | {"losses": losses}


def case_compiled_function_with_break() -> dict[str, Any]:
    model = Broken()

    def step(x: Tensor) -> Tensor:
        return model(x).square().sum()

    fast = torch.compile(step, backend="eager")
    for _ in range(3):
        fast(torch.randn(3, 8)).backward()
    return dynamo_facts()


def case_compiled_optimizer() -> dict[str, Any]:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = torch.compile(optimizer.step, backend="eager")
    for _ in range(4):
        train(model, 1)
        step()
        optimizer.zero_grad()
    return without_frames(dynamo_facts())


def case_compiled_training() -> dict[str, Any]:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters())

    def step(x: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    fast = torch.compile(step, backend="eager")
    losses = [round(fast(torch.randn(3, 8)).item(), 3) for _ in range(4)]
    return without_frames(dynamo_facts()) | {"losses": losses}


def case_compiled_shapes() -> dict[str, Any]:
    model = torch.compile(Net(), backend="eager")
    for rows in (2, 3, 4, 5):
        train(model, 1, rows)
    return dynamo_facts()


def case_script() -> dict[str, Any]:
    scripted = torch.jit.script(Net())
    losses = train(scripted, 3)
    return {"losses": losses, "code": scripted.code}


def case_trace() -> dict[str, Any]:
    model = Net()
    traced = torch.jit.trace(model, torch.randn(3, 8))
    return {"losses": train(traced, 3), "graph": str(traced.inlined_graph).count("aten::")}


def case_fx() -> dict[str, Any]:
    call = nn.Module.__call__
    model = Net()
    traced = torch.fx.symbolic_trace(model)
    same = nn.Module.__call__ is call
    targets = [str(node.target) for node in traced.graph.nodes]
    return {"losses": train(traced, 3), "targets": targets, "restored": same}


def export_facts(program: torch.export.ExportedProgram) -> dict[str, Any]:
    stacks = [
        "/".join(path for path, _ in (node.meta.get("nn_module_stack") or {}).values())
        for node in program.graph.nodes
        if node.op == "call_function"
    ]
    losses = train(program.module(), 2)
    return {"stacks": stacks, "losses": losses, "targets": [str(node.target) for node in program.graph.nodes]}


def case_export() -> dict[str, Any]:
    return export_facts(torch.export.export(Net(), (torch.randn(3, 8),), strict=False))


def case_export_strict() -> dict[str, Any]:
    return export_facts(torch.export.export(Net(), (torch.randn(3, 8),), strict=True))


def case_export_after_eager() -> dict[str, Any]:
    model = Net()
    train(model, 1)
    facts = export_facts(torch.export.export(model, (torch.randn(3, 8),), strict=False))
    train(model, 1)
    return facts


if __name__ == "__main__":
    main(globals())
