"""Programs of several processes and threads run as they do bare, and each of them is in the run."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.recording import (
    open_run,
    operator_counts,
    processes_with_spans,
    run_both,
    run_both_commands,
    write_program,
)

POOL = """
    import multiprocessing, sys
    import torch

    class Task:
        def __init__(self, value):
            self.value = value

    def begin(shared):
        global both
        both = shared

    def work(task):
        both.wait(60)  # else one worker may do all of it
        return Task(float(torch.mm(torch.full((3, 3), task.value), torch.ones(3, 3)).sum()))

    if __name__ == "__main__":
        method = sys.argv[1]
        torch.ones(2).sum()
        context = multiprocessing.get_context(method)
        with context.Pool(2, begin, (context.Barrier(2),)) as pool:
            print([each.value for each in pool.map(work, [Task(1.0), Task(2.0)], chunksize=1)])
            pool.close()
            pool.join()
        process = context.Process(target=sys.exit, args=(5,))
        process.start()
        process.join()
        print(process.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    program = write_program(tmp_path, POOL)
    pair = run_both([program.name, method], tmp_path)
    pair.assert_recorded()
    with open_run(pair.run_dir) as run:
        workers = run.rows("SELECT count(*), count(DISTINCT pid) FROM spans WHERE name = 'aten::mm'")
        assert workers[0] == (2, 2)
        assert len(run.processes) >= 3
        ((main, *_),) = run.rows("SELECT pid FROM spans WHERE name = 'aten::ones' ORDER BY start_ns LIMIT 1")
        assert main not in {pid for (pid,) in run.rows("SELECT DISTINCT pid FROM spans WHERE name = 'aten::mm'")}


@pytest.mark.parametrize("persistent", [False, True])
def test_data_loader_with_two_workers(persistent: bool, tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        f"""
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Data(Dataset):
            def __len__(self):
                return 16

            def __getitem__(self, index):
                return torch.full((4,), float(index)).cumsum(0)

        if __name__ == "__main__":
            loader = DataLoader(Data(), batch_size=4, num_workers=2, persistent_workers={persistent})
            for _ in range(2):
                print([batch.sum().item() for batch in loader])
        """,
    )
    pair = run_both([program.name], tmp_path)
    pair.assert_recorded()
    with open_run(pair.run_dir) as run:
        items = run.rows("SELECT count(*), count(DISTINCT pid) FROM spans WHERE name = 'aten::cumsum'")
        assert items == [(32, 2 if persistent else 4)]
        loading = run.rows("SELECT DISTINCT phase FROM spans WHERE name = 'aten::cumsum'")
        assert loading == [("data",)]
        batches = run.rows("SELECT count(*) FROM spans WHERE name LIKE 'enumerate(DataLoader)%'")
        assert batches[0][0] >= 8


def test_threads_of_the_program(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import threading, torch

        def work(count):
            for _ in range(count):
                torch.mm(torch.ones(2, 2), torch.ones(2, 2))

        threads = [threading.Thread(target=work, args=(10 * n,)) for n in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        threading.Thread(target=work, args=(40,)).start()
        print(threading.active_count() >= 1)
        """,
    )
    pair = run_both([program.name], tmp_path)
    pair.assert_recorded()
    with open_run(pair.run_dir) as run:
        counts = run.rows("SELECT count(*) FROM spans WHERE name = 'aten::mm' GROUP BY tid ORDER BY 1")
        # The system may give a thread that has ended's id to a later one.
        assert sum(count for (count,) in counts) == 100
        assert len(counts) >= 3


def test_threads_that_still_run_when_the_program_ends(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import threading, torch
        started = threading.Event()

        def work():
            while True:
                torch.mm(torch.ones(2, 2), torch.ones(2, 2))
                started.set()

        threading.Thread(target=work, daemon=True).start()
        started.wait()
        print("ends")
        """,
    )
    run_both([program.name], tmp_path).assert_recorded()


def test_fork_without_multiprocessing(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import os, torch
        torch.mm(torch.ones(2, 2), torch.ones(2, 2))
        pid = os.fork()
        for _ in range(5 if pid else 7):
            torch.bmm(torch.ones(1, 2, 2), torch.ones(1, 2, 2))
        if not pid:
            os._exit(9)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
    )
    pair = run_both([program.name], tmp_path)
    pair.assert_recorded()
    with open_run(pair.run_dir) as run:
        counts = run.rows("SELECT count(*) FROM spans WHERE name = 'aten::bmm' GROUP BY pid ORDER BY 1")
        assert counts == [(5,), (7,)]
        # What ran before the fork belongs to the parent alone.
        assert operator_counts(run)["aten::mm"] == 1


def test_exec_replaces_the_program(tmp_path: Path) -> None:
    write_program(
        tmp_path, "import sys, torch\nprint(sys.argv, torch.bmm(torch.ones(1, 2, 2), torch.ones(1, 2, 2)))\n", "b.py"
    )
    program = write_program(
        tmp_path,
        """
        import os, sys, torch
        print(torch.mm(torch.ones(2, 2), torch.ones(2, 2)), flush=True)
        os.execv(sys.executable, [sys.executable, "b.py", "x"])
        """,
    )
    pair = run_both([program.name], tmp_path)
    pair.assert_recorded()
    with open_run(pair.run_dir) as run:
        counts = operator_counts(run)
    assert (counts["aten::mm"], counts["aten::bmm"]) == (1, 1)


def test_grandchildren_keep_the_users_python_path(tmp_path: Path) -> None:
    write_program(tmp_path, "VALUE = 7\n", "library/of_the_user.py")
    write_program(
        tmp_path,
        "import sys, of_the_user, torch\nprint(sys.path[1:], of_the_user.VALUE, torch.ones(2).cumsum(0))\n",
        "b.py",
    )
    program = write_program(
        tmp_path,
        """
        import subprocess, sys
        code = "import subprocess, sys; subprocess.run([sys.executable, 'b.py'])"
        done = subprocess.run([sys.executable, "-c", code])
        sys.exit(done.returncode)
        """,
    )
    pair = run_both([program.name], tmp_path, env={"PYTHONPATH": str(tmp_path / "library")})
    pair.assert_recorded()
    with open_run(pair.run_dir) as run:
        assert operator_counts(run)["aten::cumsum"] == 1


def test_torchrun_with_two_ranks(tmp_path: Path) -> None:
    write_program(
        tmp_path,
        """
        import torch
        import torch.distributed as dist
        dist.init_process_group("gloo")
        rank = dist.get_rank()
        total = torch.full((3,), float(rank + 1))
        for _ in range(3 + rank):
            torch.mm(torch.ones(2, 2), torch.ones(2, 2))
        dist.all_reduce(total)
        if rank == 0:
            print(total.tolist(), flush=True)
        dist.destroy_process_group()
        """,
        "train.py",
    )
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    words = [torchrun, "--standalone", "--nproc-per-node", "2", "train.py"]
    # The launcher's own log lines hold times and ports: only stdout is compared.
    pair = run_both_commands(words, tmp_path)
    assert (pair.recorded.returncode, pair.recorded.stdout) == (pair.bare.returncode, pair.bare.stdout)
    assert pair.recorded.stdout == b"[3.0, 3.0, 3.0]\n"
    with open_run(pair.run_dir) as run:
        counts = Counter(dict(run.rows("SELECT rank, count(*) FROM spans WHERE name = 'aten::mm' GROUP BY rank")))
        assert counts == {0: 3, 1: 4}
        assert len(processes_with_spans(run)) >= 2
        assert {each["rank"] for each in run.processes if each["world_size"] == 2} == {0, 1}
        # torchrun tells its own events to a logger that writes nowhere.
        assert run.rows("SELECT count(*) FROM logs WHERE event = 'log' AND fields->>'logger' LIKE 'torchelastic%'") == [
            (0,)
        ]
