"""setup.py fetches the viewer through npm: what it takes from the archive, what it refuses, and building without."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "package/LICENSE": b"MIT",
    "package/README.md": b"not packed",
    "package/bin/cli.mjs": b"not packed",
    "package/dist/release/index.html": b"<title>viewer</title>",
    "package/dist/release/viewer.js": b"draw()",
    "package/dist/release/nested/file.js": b"not packed",
    "package/dist/release/../../../escaped.txt": b"not packed",
}


@pytest.fixture
def build() -> ModuleType:
    """setup.py as a module, which builds nothing."""
    spec = spec_from_file_location("viewer_build", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: ModuleType) -> Path:
    """An npm client that copies an archive and counts its calls; the archive is the one that is pinned."""
    archive = tmp_path / "archive.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("package/dist/release/link.js")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    client = bin_dir / "npm"
    client.write_text(
        f"#!/bin/sh\necho \"$@\" >> '{tmp_path}/calls'\n"
        f'while [ "$1" != --pack-destination ]; do shift; done\ncp \'{archive}\' "$2/speedscope.tgz"\n'
    )
    client.chmod(0o700)
    monkeypatch.setenv("PATH", f"{bin_dir}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(build.sysconfig, "get_path", lambda name: str(bin_dir))
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    monkeypatch.setattr(build, "INTEGRITY", f"sha512-{digest}")
    return client


def calls(npm: Path) -> list[str]:
    return (npm.parents[1] / "calls").read_text().splitlines()


def test_the_release_and_its_licence_are_unpacked_and_nothing_else(
    tmp_path: Path, build: ModuleType, npm: Path
) -> None:
    app = tmp_path / "exporters" / "app"
    app.mkdir(parents=True)
    (app / "of-an-older-version.js").write_text("old")
    build.fetch_viewer(app)
    assert {path.name for path in app.rglob("*")} == {"LICENSE", "index.html", "viewer.js", "integrity.txt"}
    assert (app / "viewer.js").read_bytes() == b"draw()"
    assert [path.name for path in app.parent.iterdir()] == ["app"]
    assert not (tmp_path / "escaped.txt").exists()
    assert calls(npm)[0].startswith(f"pack {build.PACKAGE} --ignore-scripts")


def test_a_viewer_that_is_there_is_not_fetched_again_but_another_version_is(
    tmp_path: Path, build: ModuleType, npm: Path
) -> None:
    app = tmp_path / "app"
    build.fetch_viewer(app)
    build.fetch_viewer(app)
    assert len(calls(npm)) == 1
    (app / "integrity.txt").write_text("sha512-another")
    build.fetch_viewer(app)
    assert len(calls(npm)) == 2


def test_an_archive_that_is_not_the_pinned_one_is_refused(
    tmp_path: Path, build: ModuleType, npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "INTEGRITY", "sha512-another")
    with pytest.raises(RuntimeError, match="is not sha512-another"):
        build.fetch_viewer(tmp_path / "app")
    assert not (tmp_path / "app").exists()


def test_npm_that_fails_says_why(tmp_path: Path, build: ModuleType, npm: Path) -> None:
    npm.write_text("#!/bin/sh\necho 'no network' >&2\nexit 7\n")
    with pytest.raises(subprocess.SubprocessError, match="status 7: no network"):
        build.fetch_viewer(tmp_path / "app")
    assert not (tmp_path / "app").exists()


def test_a_build_without_npm_warns_and_has_no_viewer(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "deepseek_prof", copy / "deepseek_prof", symlinks=True)
    for folder in ("collectors", "exporters", "tui"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "speedscope_app"))
    for path in ROOT.glob("*"):
        if path.is_file():
            shutil.copy2(path, copy)
    # A Python whose scripts folder holds no npm, and a PATH without one.
    program = (
        "import runpy, sys, sysconfig; real = sysconfig.get_path; "
        "sysconfig.get_path = lambda name, *a, **k: '/nowhere' if name == 'scripts' else real(name, *a, **k); "
        "sys.argv = ['setup.py', 'bdist_wheel']; runpy.run_path('setup.py', run_name='__main__')"
    )
    built = subprocess.run(
        [sys.executable, "-c", program],
        cwd=copy,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert (
        "built without the viewer of 'deepseek-prof flame', which npm could not fetch: there is no npm" in built.stderr
    )
    (wheel,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "speedscope_app" in name]
