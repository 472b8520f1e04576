"""The built wheel holds what the tree holds: an editable install finds modules that a forgotten package entry loses."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Where the folders of the tree lie in the wheel.
HOMES = {
    "deepseek_prof": "deepseek_prof",
    "collectors": "deepseek_prof/collectors",
    "exporters": "deepseek_prof/exporters",
    "tui": "deepseek_prof/tui",
}
SHIPPED = {".py", ".cpp", ".css", ".h", ".html", ".js", ".tcss", ".typed"}
VIEWER = "deepseek_prof/exporters/speedscope_app/"
"""Where the build puts the viewer of flame graphs, if it could be had; no file of the tree."""


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel built from a copy of the tree, without the ``dist-info`` folder."""
    copy = tmp_path_factory.mktemp("tree") / "copy"
    copy.mkdir()
    for folder in HOMES:
        # Links stay links, as in a checkout.
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*"):
        if path.is_file():
            shutil.copy2(path, copy)
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def tree_files() -> set[str]:
    """Names that the wheel must hold, by the files of the tree."""
    names = set()
    for folder, home in HOMES.items():
        for path in (ROOT / folder).rglob("*"):
            inner = path.relative_to(ROOT / folder)
            through_link = folder == "deepseek_prof" and inner.parts[0] in HOMES
            name = f"{home}/{inner.as_posix()}"
            if path.is_file() and path.suffix in SHIPPED and not through_link and not name.startswith(VIEWER):
                names.add(name)
    return names


def test_wheel_holds_every_file_of_the_tree(wheel_files: set[str]) -> None:
    assert {name for name in wheel_files if not name.startswith(VIEWER)} == tree_files()


def test_wheel_holds_the_viewer_with_its_licence_or_nothing_of_it(wheel_files: set[str]) -> None:
    viewer = {name.removeprefix(VIEWER) for name in wheel_files if name.startswith(VIEWER)}
    packed = {path.name for path in (ROOT / "exporters" / "speedscope_app").glob("*")}
    assert viewer >= packed
    assert not viewer or {"index.html", "LICENSE", "integrity.txt"} <= viewer
    assert all("/" not in name for name in viewer)


def test_wheel_holds_what_is_not_a_module(wheel_files: set[str]) -> None:
    assert "deepseek_prof/py.typed" in wheel_files
    assert "deepseek_prof/recording/shim/sitecustomize.py" in wheel_files
    assert "deepseek_prof/collectors/native/recorder.cpp" in wheel_files
    assert "deepseek_prof/collectors/native/recorder.h" in wheel_files


def test_wheel_has_no_top_level_name_but_ours(wheel_files: set[str]) -> None:
    assert {name.split("/")[0] for name in wheel_files} == {"deepseek_prof"}


def test_links_are_relative_and_lead_to_the_mapped_folders() -> None:
    links = {path for path in (ROOT / "deepseek_prof").iterdir() if path.is_symlink()}
    assert {link.name for link in links} == set(HOMES) - {"deepseek_prof"}
    for link in links:
        assert not link.readlink().is_absolute()
        assert link.resolve() == ROOT / link.name
