"""The user's own modules, start-up hooks, classes and profiler work as they do without us."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.recording import open_run, operator_counts, run_both, write_program

CUSTOMIZE = """
    import sys
    sys.customized = [*getattr(sys, "customized", []), __name__]
    NAME = __file__
"""


def test_existing_sitecustomize_and_usercustomize_run(tmp_path: Path) -> None:
    write_program(tmp_path, CUSTOMIZE, "site/sitecustomize.py")
    base = tmp_path / "userbase"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    write_program(tmp_path, CUSTOMIZE, f"userbase/lib/{version}/site-packages/usercustomize.py")
    program = write_program(
        tmp_path,
        """
        import site, sys, torch, sitecustomize
        print(sys.customized, sitecustomize.NAME, sitecustomize.__name__, site.ENABLE_USER_SITE, torch.ones(1).sum())
        """,
    )
    env = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONUSERBASE": str(base)}
    pair = run_both([program.name], tmp_path, env=env)
    pair.assert_recorded()
    assert b"'sitecustomize'" in pair.recorded.stdout


def test_failing_sitecustomize_is_reported_as_python_does(tmp_path: Path) -> None:
    write_program(tmp_path, "raise RuntimeError('of the user')\n", "site/sitecustomize.py")
    program = write_program(tmp_path, "print('runs')\n")
    pair = run_both([program.name], tmp_path, env={"PYTHONPATH": str(tmp_path / "site")})
    assert pair.recorded.stdout == pair.bare.stdout == b"runs\n"
    assert b"RuntimeError: of the user" in pair.bare.stderr
    assert b"RuntimeError: of the user" in pair.recorded.stderr


@pytest.fixture(scope="module")
def own_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program whose packages are called as folders of ours are, and whose modules as those that we import."""
    folder = tmp_path_factory.mktemp("names")
    for name in ("collectors", "tui", "exporters", "trace", "query", "recording", "analysis"):
        write_program(folder, f"WHO = 'mine {name}'\n", f"{name}/__init__.py")
        write_program(folder, "WHAT = 'child'\n", f"{name}/child.py")
    for name in ("model", "config", "errors", "log", "steps", "layers", "operators", "build"):
        write_program(folder, f"WHO = 'mine {name}'\n", f"{name}.py")
    return folder


def test_packages_with_the_names_of_our_folders(own_names: Path) -> None:
    program = write_program(
        own_names,
        """
        import importlib, sys, torch
        torch.nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()
        for name in ("collectors", "tui", "exporters", "trace", "query", "recording", "analysis"):
            print(importlib.import_module(name).WHO, importlib.import_module(name + ".child").WHAT)
        for name in ("model", "config", "errors", "log", "steps", "layers", "operators", "build"):
            print(importlib.import_module(name).WHO)
        """,
    )
    pair = run_both([program.name], own_names)
    pair.assert_recorded()
    assert pair.recorded.stdout.count(b"mine") == 15


def test_absent_packages_with_our_names_stay_absent(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import importlib.util, torch
        torch.ones(1).sum()
        print([name for name in ("collectors", "tui", "exporters") if importlib.util.find_spec(name)])
        """,
    )
    pair = run_both([program.name], tmp_path)
    pair.assert_recorded()
    assert pair.recorded.stdout == b"[]\n"


def test_torch_is_imported_first_by_another_module_or_reloaded(tmp_path: Path) -> None:
    write_program(tmp_path, "import torch.nn.functional as F\n", "helper.py")
    program = write_program(
        tmp_path,
        """
        import importlib.util, sys
        print(importlib.util.find_spec("torch").name, "torch" in sys.modules)
        import helper, torch
        print(helper.F.relu(torch.ones(2)), type(torch.__spec__.loader).__name__)
        print(torch.__spec__.origin == torch.__file__)
        print(torch.__loader__.get_source("torch")[:3])
        """,
    )
    run_both([program.name], tmp_path).assert_recorded()


def test_classes_of_main_are_pickled(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import io, pickle, torch

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.body = torch.nn.Linear(2, 2)

            def forward(self, x):
                return self.body(x)

        torch.manual_seed(0)
        net = Net()
        net(torch.ones(1, 2)).sum().backward()
        optimizer = torch.optim.AdamW(net.parameters())
        optimizer.step()
        again = pickle.loads(pickle.dumps(net))
        print(type(again), type(again) is Net, Net.__module__, torch.equal(again.body.weight, net.body.weight))
        file = io.BytesIO()
        torch.save(net, file)
        file.seek(0)
        print(torch.load(file, weights_only=False)(torch.ones(1, 2)), pickle.loads(pickle.dumps(optimizer)))
        print(pickle.loads(pickle.dumps(net.__call__))(torch.ones(1, 2)))
        """,
    )
    run_both([program.name], tmp_path).assert_recorded()


def test_torch_profiler_of_the_user_counts_the_same_events(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import json, torch
        from torch.profiler import profile
        net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with profile(record_shapes=True) as ours:
            for _ in range(4):
                net(torch.ones(4, 8)).sum().backward()
                optimizer.step()
                optimizer.zero_grad()
        print(json.dumps({event.key: event.count for event in sorted(ours.key_averages(), key=lambda e: e.key)}))
        """,
    )
    pair = run_both([program.name], tmp_path)
    pair.assert_recorded()
    theirs = {name: count for name, count in json.loads(pair.bare.stdout).items() if name.startswith("aten::")}
    with open_run(pair.run_dir) as run:
        counts = operator_counts(run)
    assert theirs["aten::linear"] == 8
    assert all(counts[name] >= count for name, count in theirs.items())
