"""A program on a terminal of ours behaves as on any other, and nothing that it writes is lost."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepseek_prof.recording.program_terminal import ProgramTerminal

# A read that begins just after its signal waits on, and so would a pause: these look again and again.
WAITS = "import time\nwhile True: time.sleep(0.01)\n"
Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def terminal(tmp_path: Path) -> ProgramTerminal:
    return ProgramTerminal(tmp_path / "output.log", 77, 21)


@pytest.fixture
def start(terminal: ProgramTerminal) -> Iterator[Start]:
    """Starts code on the terminal."""
    children: list[subprocess.Popen[bytes]] = []

    def spawn(code: str) -> subprocess.Popen[bytes]:
        children.append(terminal.spawn([sys.executable, "-u", "-c", code], os.environ))
        return children[0]

    yield spawn
    for child in children:
        child.kill()
        child.wait()
        terminal.drain()
    terminal.close()


def written(terminal: ProgramTerminal) -> str:
    """The output so far, with plain line ends."""
    return terminal.output.read_bytes().decode().replace("\r\n", "\n")


def wait_for(terminal: ProgramTerminal, text: str) -> None:
    """Return when the program has written it; the test's time limit ends what never comes."""
    while text not in written(terminal):
        os.sched_yield()


def test_program_finds_a_terminal(terminal: ProgramTerminal, start: Start) -> None:
    child = start(
        "import os, sys\n"
        "print([stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)], os.get_terminal_size())\n"
        "print(os.tcgetpgrp(0) == os.getpgrp() == os.getsid(0), open('/dev/tty').isatty())\n"
    )
    assert child.wait() == 0
    terminal.drain()
    assert written(terminal) == ("[True, True, True] os.terminal_size(columns=77, lines=21)\nTrue True\n")
    assert terminal.output.stat().st_mode & 0o777 == 0o600


def test_keys_reach_the_program_and_ctrl_c_interrupts_it(terminal: ProgramTerminal, start: Start) -> None:
    child = start(f"print(input('name? ').upper())\nprint('more? ')\n{WAITS}")
    wait_for(terminal, "name? ")
    terminal.press(b"ada\r")
    wait_for(terminal, "more? ")
    terminal.press(b"\x03")
    assert child.wait() == -signal.SIGINT
    terminal.drain()
    assert "ADA\n" in written(terminal)
    assert "KeyboardInterrupt" in written(terminal)


def test_interrupt_reaches_a_program_that_takes_keys_as_they_are(terminal: ProgramTerminal, start: Start) -> None:
    child = start(f"import tty\ntty.setraw(0)\nprint('raw')\n{WAITS}")
    wait_for(terminal, "raw")
    terminal.interrupt()
    assert child.wait() == -signal.SIGINT


def test_new_size_is_told(terminal: ProgramTerminal, start: Start) -> None:
    child = start(
        "import os, signal\n"
        "signal.signal(signal.SIGWINCH, lambda *_: print(os.get_terminal_size()))\n"
        f"print('ready')\n{WAITS}"
    )
    wait_for(terminal, "ready")
    terminal.resize(50, 10)
    wait_for(terminal, "os.terminal_size(columns=50, lines=10)")
    assert child.poll() is None


def test_much_output_is_whole_and_its_last_line_too(terminal: ProgramTerminal, start: Start) -> None:
    child = start("for number in range(200_000): print(number)\nprint('end', end='')")
    assert child.wait() == 0
    terminal.drain()
    assert written(terminal).split("\n") == [*map(str, range(200_000)), "end"]


def test_what_others_write_behind_the_program_does_not_keep_us(terminal: ProgramTerminal, start: Start) -> None:
    child = start(
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "print('first', flush=True)\n"
        "if os.fork() == 0:\n"
        "    while True: os.write(1, b'behind ')\n"
    )
    assert child.wait() == 0
    terminal.drain()  # returns
    assert written(terminal).startswith("first\n")


def test_full_disk_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    terminal = ProgramTerminal(Path("/dev/full"), 80, 24)
    child = terminal.spawn([sys.executable, "-c", "print('x' * 100_000)"], os.environ)
    assert child.wait() == 0
    terminal.drain()
    terminal.close()
    assert terminal.lost_bytes == 100_002


def test_program_that_cannot_be_started_is_an_error(terminal: ProgramTerminal) -> None:
    with pytest.raises(FileNotFoundError):
        terminal.spawn(["/no/such/program"], os.environ)
    terminal.close()


_PASS_THROUGH = """
import os, sys
from pathlib import Path
from deepseek_prof.recording.passthrough import pass_through
from deepseek_prof.recording.program_terminal import ProgramTerminal

terminal = ProgramTerminal(Path(sys.argv[1]), 33, 11)
child = terminal.spawn([sys.executable, "-u", "-c", sys.argv[2]], os.environ)
while b"before" not in Path(sys.argv[1]).read_bytes():
    os.sched_yield()
pass_through(terminal, child.wait, int(sys.argv[3]))
terminal.close()
print("ours", child.returncode)
"""


class Outer:
    """Our own terminal: the master's side of it."""

    def __init__(self, words: list[str]) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execv(words[0], words)
        self.output = b""
        self.before = termios.tcgetattr(self.master)

    def wait_for(self, text: bytes) -> None:
        """Read until ``text`` was written."""
        while text not in self.output:
            self.output += os.read(self.master, 4096)

    def end(self) -> int:
        """Read to the end; returns the exit status."""
        try:
            while data := os.read(self.master, 4096):
                self.output += data
        except OSError:
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_program_goes_on_in_our_terminal(tmp_path: Path) -> None:
    program = "print('before', end='')\nimport os\nprint(input(' name? ').upper(), os.get_terminal_size().columns)"
    outer = Outer([sys.executable, "-c", _PASS_THROUGH, str(tmp_path / "output.log"), program, "3"])
    fcntl.ioctl(outer.master, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 66, 0, 0))
    outer.wait_for(b"ore name? ")
    os.write(outer.master, b"ada\r")
    assert outer.end() == 0
    assert outer.output.replace(b"\r\n", b"\n") == b"ore name? ada\nADA 66\nours 0\n"
    assert outer.output.count(b"\r") == 3, "lines end as the program's terminal ends them"


def test_keys_of_our_terminal_interrupt_the_program_and_not_us(tmp_path: Path) -> None:
    program = f"print('before')\n{WAITS}"
    outer = Outer([sys.executable, "-c", _PASS_THROUGH, str(tmp_path / "output.log"), program, "0"])
    outer.wait_for(b"before")
    os.write(outer.master, b"\x03")
    assert outer.end() == 0
    assert b"KeyboardInterrupt" in outer.output
    assert outer.output.endswith(b"ours -2\r\n")


def test_questions_in_what_is_repeated_are_not_asked_again(tmp_path: Path) -> None:
    program = r"print('\x1b[6n\x1b[>cbefore', end='')"
    outer = Outer([sys.executable, "-c", _PASS_THROUGH, str(tmp_path / "output.log"), program, "0"])
    assert outer.end() == 0
    assert outer.output == b"beforeours 0\r\n"
