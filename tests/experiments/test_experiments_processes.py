"""Which job begins next where rows share stages, and which cores each of several has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from brainram_lib.__main__ import main
from brainram_lib.core.store import Stage, Store
from brainram_lib.experiments import local, processes, slurm
from brainram_lib.experiments.jobs import Asked, Places
from brainram_lib.experiments.local import (
    PARENT,
    THREADS,
    LocalJobs,
    end_with_parent,
    ended_by_sigterm,
    last_line,
    shared_cores,
)
from brainram_lib.experiments.processes import Waiting
from brainram_lib.experiments.slurm import options_of
from brainram_lib.experiments.times import kind


@dataclass(frozen=True)
class Made(Stage):
    label: str
    first: Stage | None = None
    second: Stage | None = None

    @property
    def name(self) -> str:
        return self.label

    def make(self, folder: Path, store: Store) -> None:
        (folder / "made.txt").write_text("x")


TOKENS = Made("tokens")
PRIOR, RIDGE, PEER = Made("prior", TOKENS), Made("ridge", TOKENS), Made("peer")
ROWS = {
    "ram": Made("ram scores", Made("ram", PRIOR), RIDGE),
    "no-ram": Made("no-ram scores", PRIOR),
    "ridge": Made("ridge scores", RIDGE),
    "peer": Made("peer scores", PEER),
}


@pytest.fixture
def waiting(table, tmp_path, monkeypatch):
    """Jobs of four rows, and `made(stage)`, which saves a result as another process would."""
    monkeypatch.setattr(processes, "stages_of_job", lambda experiment, job, places: [ROWS[job.row.name]])
    rows = tuple(replace(table.rows[0], name=name) for name in ROWS)
    store = Store(tmp_path / "runs")
    found = Waiting([asked(replace(table, rows=rows, subjects=(1,), seeds=(0,)))], Places(), store)
    found.made = lambda stage: Store(tmp_path / "runs").result(stage)
    return found


def asked(experiment):
    return Asked(experiment, Path("table.toml"))


def begin(waiting, running):
    wanted = waiting.next(running)
    if wanted is not None:
        running.append(wanted)
    return None if wanted is None else wanted.job.row.name


def test_a_job_that_would_stand_still_is_passed_over(waiting):
    running = []
    assert begin(waiting, running) == "ram"
    # all but one need the tokens, which the first job is making
    assert begin(waiting, running) == "peer" and begin(waiting, running) is None and len(waiting) == 2
    waiting.made(TOKENS)
    assert begin(waiting, running) == "ridge" and begin(waiting, running) is None
    waiting.made(PRIOR)
    assert begin(waiting, running) == "no-ram" and len(waiting) == 0


def test_the_longest_begins_first_and_those_of_one_length_in_order(table, tmp_path, monkeypatch):
    """With all that a job lacks; what is not known counts as nothing."""
    monkeypatch.setattr(processes, "stages_of_job", lambda experiment, job, places: [ROWS[job.row.name]])
    rows = tuple(replace(table.rows[0], name=name) for name in ROWS)
    store = Store(tmp_path)
    one = replace(table, rows=rows, subjects=(1,), seeds=(0,))
    times = {kind(stage.described): 10.0 for stage in (PRIOR, RIDGE)} | {kind(PEER.described): 30.0}
    waiting = Waiting([asked(one)], Places(), store, times)
    assert [begin(waiting, []) for _ in ROWS] == ["peer", "ram", "no-ram", "ridge"]
    store.result(PRIOR)
    waiting = Waiting([asked(one)], Places(), store, times)
    assert [begin(waiting, []) for _ in ROWS] == ["peer", "ram", "ridge", "no-ram"]


def test_jobs_of_several_experiments_wait_in_one_queue(table, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "stages_of_job", lambda experiment, job, places: [ROWS[job.row.name]])
    first, second = (
        replace(
            table, name=name, rows=tuple(replace(table.rows[0], name=row) for row in rows), subjects=(1,), seeds=(0,)
        )
        for name, rows in (("first", ("no-ram", "ridge")), ("second", ("peer", "no-ram")))
    )
    times = {kind(PEER.described): 30.0, kind(PRIOR.described): 10.0}
    waiting = Waiting([asked(first), asked(second)], Places(), Store(tmp_path), times)
    running = []
    assert [begin(waiting, running) for _ in range(3)] == ["peer", "no-ram", None]
    peer, prior = running
    assert (peer.name, prior.name) == ("second-peer-subj01-seed0", "first-no-ram-subj01-seed0")
    assert prior.command(Places(runs=Path("/elsewhere")))[4:10] == [
        *("job", str(Path("table.toml").absolute())),
        *("--row", "no-ram", "--subject", "1"),
    ]
    # the same row of the other experiment would wait for the same prior
    Store(tmp_path).result(TOKENS)
    assert [begin(waiting, running) for _ in range(2)] == ["ridge", None]


def test_where_none_runs_the_first_begins(waiting):
    assert [begin(waiting, []) for _ in ROWS] == list(ROWS)
    assert waiting.next([]) is None


def test_a_job_that_is_done_while_it_waits_holds_nobody(waiting):
    running = []
    assert begin(waiting, running) == "ram"
    for stage in ROWS.values():
        waiting.made(stage)
    assert [begin(waiting, running) for _ in range(4)] == ["no-ram", "ridge", "peer", None]


def test_jobs_whose_scores_are_saved_do_not_wait(table, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "stages_of_job", lambda experiment, job, places: [PEER])
    store = Store(tmp_path)
    two = replace(table, rows=table.rows[:1], subjects=(1, 2), seeds=(0,))
    assert len(Waiting([asked(two)], Places(), store)) == 2
    store.result(PEER)
    assert len(Waiting([asked(two)], Places(), store)) == 0


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.delenv(THREADS, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert [shared_cores(jobs)[THREADS] for jobs in (1, 2, 3, 20)] == ["8", "4", "2", "1"]
    assert shared_cores(2)["PATH"] == os.environ["PATH"]
    monkeypatch.setenv(THREADS, "5")
    assert shared_cores(2)[THREADS] == "5", "what the user says stays"


# Starts a process of its own, writes both numbers, and takes no notice of Ctrl-C.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


def gone(process):
    """Ended, or nothing but an entry that nobody has asked for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_a_job_that_is_stopped_ends_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "GRACE", ((signal.SIGINT, 0.3), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)))
    jobs = LocalJobs(tmp_path / "jobs", 2)
    job = jobs.start([sys.executable, "-c", STUBBORN], "one")
    assert until(lambda: len(job.log.read_text().split()) == 2) and not job.done()
    processes = [int(number) for number in job.log.read_text().split()]
    jobs.leave([job])
    assert job.done() and all(until(lambda one=one: gone(one)) for one in processes)


# A command with one job, which starts a process of its own; the job writes the numbers of both.
COMMAND = """
import sys, time
from pathlib import Path
from brainram_lib.experiments.local import LocalJobs
job = LocalJobs(Path(sys.argv[1]), 1).start([sys.executable, "-c", sys.argv[2]], "one")
time.sleep(600)
"""
JOB = """
import os, subprocess, sys, time
from brainram_lib.experiments.local import end_with_parent
end_with_parent(0.05)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


def test_a_job_ends_when_the_command_that_started_it_is_killed_outright(tmp_path):
    command = subprocess.Popen([sys.executable, "-c", COMMAND, str(tmp_path), JOB])
    log = tmp_path / "one.log"
    assert until(lambda: log.exists() and len(log.read_text().split()) == 2)
    job, child = (int(number) for number in log.read_text().split())
    assert not gone(job) and not gone(child)
    command.kill()
    command.wait()
    assert until(lambda: gone(job) and gone(child))


def test_a_process_that_no_command_started_lives_on(monkeypatch):
    monkeypatch.delenv(PARENT, raising=False)
    threads = threading.active_count()
    end_with_parent(0.01)
    assert threading.active_count() == threads


def test_a_job_that_fails_says_why(tmp_path):
    jobs = LocalJobs(tmp_path, 1)
    said = jobs.start([sys.executable, "-c", "print('50%\\r100%'); raise SystemExit('no weights')"], "one")
    silent = jobs.start([sys.executable, "-c", "raise SystemExit(3)"], "two")
    good = jobs.start([sys.executable, "-c", "print('done')"], "three")
    assert until(lambda: all(job.done() for job in (said, silent, good)))
    assert said.failure() == "no weights" and good.failure() is None
    assert silent.failure() == "it ended with 3 and no message"
    (tmp_path / "bar.log").write_bytes(b"one\n 50%\r100%\r\n\n")
    assert last_line(tmp_path / "bar.log") == "100%" and last_line(tmp_path / "none.log") == ""


def test_sigterm_leaves_through_what_is_to_be_stopped():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, ended_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert left.value.code == 143 and signal.getsignal(signal.SIGTERM) == before


def test_options_of_sbatch_stand_in_the_script(tmp_path, monkeypatch):
    import submitit
    from submitit.slurm.slurm import _make_sbatch_string

    options = options_of(["gres=gpu:1", "--mem=64G", "time=2-00:00:00", "comment=a=b"])
    assert options == (("gres", "gpu:1"), ("mem", "64G"), ("time", "2-00:00:00"), ("comment", "a=b"))
    monkeypatch.setattr(slurm.shutil, "which", lambda name: "/usr/bin/sbatch")
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda _: 2))
    made = slurm.SlurmJobs(tmp_path, "table4", "gpu", dict(options))
    text = _make_sbatch_string("true", tmp_path, **made._executor._executor.parameters)
    for line in ("partition=gpu", "gres=gpu:1", "mem=64G", "time=2-00:00:00", "job-name=table4"):
        assert f"#SBATCH --{line}\n" in text
    assert text.count("--time=") == 1


@pytest.mark.parametrize("word", ["gres", "=gpu:1"])
def test_an_option_that_is_none_is_named(word, capsys):
    assert main(["experiment", "run", "table1", "--slurm", "gpu", "--slurm-options", word]) == 1
    assert "must be NAME=VALUE of sbatch" in capsys.readouterr().err


def test_options_without_a_partition_are_refused(capsys):
    assert main(["experiment", "run", "table1", "--slurm-options", "mem=64G"]) == 1
    assert "go with '--slurm PARTITION'" in capsys.readouterr().err
