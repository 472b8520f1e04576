"""Serves a flame graph until its reader is done: opens the browser, or says how to reach it from another machine."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
import webbrowser
from collections.abc import Mapping

from deepseek_prof.exporters.viewer import ADDRESS, ViewerServer
from deepseek_prof.narration import Narrator


def show(profile: bytes, port: int, narrator: Narrator, *, idle_s: float, opens: bool = True) -> None:
    """Serve ``profile``, a speedscope file, until no request came for ``idle_s`` seconds.

    Raises:
        UsageError: the port cannot be had.
        KeyboardInterrupt: Ctrl-C; the socket is closed.
    """
    with ViewerServer(profile, port) as server:
        remote = forward_command(os.environ, server.server_port)
        if remote is not None:
            narrator.say(
                f"You are logged in over SSH. Run this on your own machine, then open the address there:\n{remote}"
            )
        narrator.say(f"Flame graphs at {server.url} until Ctrl-C.")
        if opens and remote is None and _has_browser(os.environ) and not webbrowser.open(server.url):
            narrator.say("No browser could be opened: open that address yourself.")
        server.serve(idle_s)


def forward_command(environment: Mapping[str, str], port: int) -> str | None:
    """The ``ssh`` command that makes ``port`` reachable where the user sits; None unless this shell came over SSH.

    ``SSH_CONNECTION`` holds the addresses and ports of client and server. Source: ssh(1), ENVIRONMENT.
    """
    connection = environment.get("SSH_CONNECTION", "").split()
    if not connection and not environment.get("SSH_TTY"):
        return None
    host, ssh_port = (connection[2], connection[3]) if len(connection) == 4 else (os.uname().nodename, "22")
    user = environment.get("USER") or getpass.getuser()
    through = [] if ssh_port == "22" else ["-p", ssh_port]
    return shlex.join(["ssh", "-N", *through, "-L", f"{port}:{ADDRESS}:{port}", f"{user}@{host}"])


def _has_browser(environment: Mapping[str, str]) -> bool:
    """Whether a graphical browser can be there: those of a text terminal cannot draw the graphs."""
    return sys.platform == "darwin" or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
