"""A recorded program sees and does what it does bare: arguments, streams, paths and exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.recording import (
    Pair,
    cli_command,
    environment,
    open_run,
    run_both,
    run_both_commands,
    run_cli,
    warnings_in,
    write_program,
)

SEES = """
    import hashlib, json, os, sys
    import torch
    torch.ones(3).sum()
    data = sys.stdin.buffer.read()
    print(json.dumps({
        "name": __name__, "file": __file__, "package": __package__, "spec": getattr(__spec__, "name", None),
        "argv": sys.argv, "orig_argv": sys.orig_argv[1:], "cwd": os.getcwd(), "path": sys.path,
        "flags": list(sys.flags), "warn": sys.warnoptions, "stdin": hashlib.sha256(data).hexdigest(),
        "main": sorted(vars(sys.modules["__main__"])), "executable": sys.executable,
        "loader": [type(torch.__loader__).__name__, torch.__spec__.loader is torch.__loader__],
        "excepthook": sys.excepthook is sys.__excepthook__, "environ": sorted(set(os.environ) - OURS),
        "modules": sorted({name.partition(".")[0] for name in sys.modules} & {"duckdb", "pyarrow", "rich", "typer"}),
    }))
    sys.stdout.buffer.write(b"\\x00\\xff\\r\\n" + data[:4])
    sys.stderr.write("no line end")
""".replace("OURS", "{'PYTHONPATH', *(key for key in os.environ if key.startswith('DEEPSEEK_PROF_'))}")

ENDS = """
    import os, signal, sys
    import torch

    def inner(how):
        torch.ones(3).sum()
        print("before the end")
        if how == "raise":
            raise ValueError("a mistake of the user's")
        elif how == "inside":
            torch.nn.Sequential(torch.nn.Linear(2, 2))(torch.ones(3))
        elif how == "backward":
            torch.ones(2, requires_grad=True).backward()
        elif how == "optimizer":
            torch.optim.SGD([], lr=0.1)
        elif how.startswith("SIG"):
            sys.stdout.flush()
            os.kill(os.getpid(), getattr(signal, how))
        elif how == "os._exit":
            sys.stdout.flush()
            os._exit(7)
        else:
            sys.exit(int(how) if how.isdigit() else how)

    inner(sys.argv[1])
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("sees")
    program = write_program(folder, SEES)
    words = [program.name, "--epochs", "2", "--output", "mine", "--", "-m", "a b", "--help", "ü"]
    return run_both(words, folder, input=bytes(range(256)) * 1000)


def test_program_sees_the_same_main_arguments_stdin_and_paths(seen: Pair) -> None:
    bare, recorded = (json.loads(done.stdout.splitlines()[0]) for done in (seen.bare, seen.recorded))
    assert recorded == bare


def test_standard_output_is_the_same_to_the_byte(seen: Pair) -> None:
    assert seen.recorded.stdout == seen.bare.stdout
    assert seen.recorded.stdout.endswith(b"\x00\xff\r\n\x00\x01\x02\x03")


def test_narration_keeps_what_the_program_wrote_to_stderr(seen: Pair) -> None:
    assert seen.bare.stderr == b"no line end"
    assert seen.recorded.stderr.count(b"no line end") == 1


def test_quiet_adds_no_byte_to_any_stream(tmp_path: Path) -> None:
    program = write_program(tmp_path, "import sys, torch\nsys.stderr.write(str(torch.ones(2).sum()))\n")
    pair = run_both([program.name], tmp_path, options=["--quiet"])
    assert pair.recorded.stderr == pair.bare.stderr == b"tensor(2.)"
    pair.assert_recorded()


@pytest.mark.parametrize(
    "how", ["0", "3", "a last word", "raise", "inside", "backward", "optimizer", "os._exit", "SIGSEGV", "SIGTERM"]
)
def test_program_ends_as_it_does_bare(how: str, tmp_path: Path) -> None:
    program = write_program(tmp_path, ENDS)
    pair = run_both([program.name, how], tmp_path)
    if sys.version_info >= (3, 11) or how not in ("inside", "backward", "optimizer"):  # see collectors/tracebacks.py
        pair.assert_recorded()
    with open_run(pair.run_dir) as run:
        bare = pair.bare.returncode
        assert run.info["exit_code"] == (bare if bare >= 0 else None)
        assert run.info["signal"] == (signal.Signals(-bare).name if bare < 0 else None)
        assert run.info["status"] == "finished"


def test_shell_sees_128_and_the_signal_number(tmp_path: Path) -> None:
    program = write_program(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    done = subprocess.run(
        ["sh", "-c", '"$@"; echo $?', "sh", *cli_command("run", "-q", str(program))],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"%d\n" % (128 + signal.SIGTERM)


def test_module_with_dash_m(tmp_path: Path) -> None:
    write_program(tmp_path, "WEIGHT = 3\n", "package/__init__.py")
    write_program(
        tmp_path,
        """
        import sys, torch
        from package import WEIGHT
        print(__name__, __package__, __spec__.name, sys.argv, sys.path[0], torch.ones(WEIGHT).sum())
        """,
        "package/module.py",
    )
    pair = run_both(["-m", "package.module", "--flag", "x"], tmp_path)
    pair.assert_recorded()
    assert b"package.module" in pair.recorded.stdout
    with open_run(pair.run_dir) as run:
        assert run.info["script"] == "package.module"


def test_code_with_dash_c(tmp_path: Path) -> None:
    run_both(["-c", "import sys, torch; print(sys.argv, torch.ones(2).sum())", "-x", "y"], tmp_path).assert_recorded()


def test_options_of_python_itself(tmp_path: Path) -> None:
    program = write_program(tmp_path, "import sys; assert False, 'kept'\n")
    words = ["-O", "-W", "error", "-X", "utf8", str(program)]
    pair = run_both_commands([sys.executable, *words], tmp_path)
    pair.assert_same()
    assert pair.recorded.returncode == 0


def test_program_without_torch_leaves_no_trace_and_no_run(tmp_path: Path) -> None:
    program = write_program(
        tmp_path, "import sys\nprint(sorted(name for name in sys.modules if 'deepseek' in name and 'edit' not in name))"
    )
    done = run_cli("run", program.name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"[]\n")
    (warning,) = warnings_in(done.stderr)
    assert "torch" in warning
    assert [path.name for path in (tmp_path / ".deepseek-prof").iterdir()] == [".gitignore"]


def test_command_that_is_not_python(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    pair = run_both_commands(["ls", "-1", "a file"], tmp_path)
    pair.assert_same()
    assert pair.recorded.stdout == b"a file\n"
    (warning,) = warnings_in(pair.recorded.stderr)
    assert "ls" in warning


@pytest.mark.parametrize("words", [["absent.py"], ["--", "absent-program"], [], ["--", "./folder"]])
def test_what_cannot_be_started_is_told_in_one_line(words: list[str], tmp_path: Path) -> None:
    write_program(tmp_path, "print(1)\n", "absents.py")
    (tmp_path / "folder").mkdir()
    done = run_cli("run", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("deepseek-prof: ")
    assert "absents.py" in line or words != ["absent.py"]
    assert not (tmp_path / ".deepseek-prof").exists()


def test_missing_module_is_pythons_own_message(tmp_path: Path) -> None:
    pair = run_both(["-m", "no_such_module_of_anybody"], tmp_path)
    pair.assert_same()
    assert pair.recorded.returncode == 1


def test_console_script_with_a_python_in_its_first_line(tmp_path: Path) -> None:
    script = write_program(
        tmp_path,
        f"#!{sys.executable}\nimport sys, torch\nprint(__name__, sys.argv[1:], torch.ones(3).sum())\n",
        "train",
    )
    script.chmod(0o755)
    pair = run_both_commands([str(script), "--lr", "1"], tmp_path)
    pair.assert_recorded()


def test_console_script_found_on_path(tmp_path: Path) -> None:
    script = write_program(
        tmp_path, f"#!{sys.executable}\nimport sys, torch\nprint(torch.ones(3).sum())\n", "bin/train"
    )
    script.chmod(0o755)
    env = {"PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}
    pair = run_both_commands(["train"], tmp_path, env=env)
    pair.assert_recorded()
