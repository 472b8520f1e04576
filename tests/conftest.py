"""What every test relies on: an environment free of a recording's settings, and one copy of our packages."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

# Both sides of the comparisons that the support code asserts are shown: its modules are imported after this.
pytest.register_assert_rewrite("tests.support")

pytest_plugins = ["tests.support.sampled"]  # a fixture of tests in several folders

# Folders at the top of the tree that are packages of `deepseek_prof`: imported bare, they would be second copies.
MAPPED_FOLDERS = ("collectors", "exporters", "tui")


# Set by the readline library in whatever starts the tests; terminals that tests make would take this for their size.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)


def _load_benchmarks() -> None:
    """Make ``benchmarks`` importable, which is not installed, without the root on ``sys.path``."""
    folder = Path(__file__).resolve().parent.parent / "benchmarks"
    spec = spec_from_file_location("benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["benchmarks"] = module
    spec.loader.exec_module(module)


_load_benchmarks()


@pytest.fixture(autouse=True, scope="session")
def _no_mapped_folder_imported_bare() -> Iterator[None]:
    """Fail the session's last test where any test imported a mapped folder as a top-level module."""
    yield
    assert not [name for name in MAPPED_FOLDERS if name in sys.modules]


@pytest.fixture(autouse=True)
def _no_settings_of_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop the variables that a recording sets, so that the tests pass inside one too."""
    for name in list(os.environ):
        if name.startswith("DEEPSEEK_PROF_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_as_in_a_terminal() -> None:
    """Where the tests run in the background of a shell, Ctrl-C is ignored, and by all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``gpu`` where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
