from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pii_pipeline.pipeline.layer import InputsGone
from pii_pipeline.pipeline.workers import WorkerFailed, Workers
from pii_pipeline.privacy.leak_gate import Leak, LeakError

# What the workers do. It is imported in them from here.


def state(name: str) -> str:
    return name


def answer(name: str, number: int, seconds: float, progress: Callable[..., None]) -> tuple[str, int, int]:
    time.sleep(seconds)
    progress("layer", number, 1)
    print("this must not come between")
    return name, number, os.getpid()


def fail(name: str, kind: str, progress: Callable[..., None]) -> None:
    if kind == "ours":
        raise LeakError([Leak("email", "looks like email", 3)])
    raise ValueError("canary")


def silent(*_: object) -> None:
    pass


def tasks(count: int, seconds: float = 0.0) -> list[tuple[Callable[..., object], tuple[object, ...]]]:
    return [(answer, (number, seconds * (count - number))) for number in range(count)]


@pytest.fixture
def workers() -> Iterator[Workers]:
    crew = Workers(2, state, ("x",))
    yield crew
    crew.close()


def test_results_come_in_order_from_several_processes_with_their_progress(workers: Workers) -> None:
    reports: list[tuple[object, ...]] = []
    results = list(workers.run(tasks(6, 0.05), lambda *report: reports.append(report)))
    assert [result[:2] for result in results] == [("x", number) for number in range(6)]
    assert len({pid for *_, pid in results}) == 2
    assert sorted(reports) == [("layer", number, 1) for number in range(6)]
    again = list(workers.run(tasks(6, 0.05), silent))
    assert {pid for *_, pid in again} == {pid for *_, pid in results}, "they stay for the next call"


def test_errors_come_back_typed_and_without_values(workers: Workers) -> None:
    with pytest.raises(WorkerFailed, match=r"failed with builtins\.ValueError \(at ") as caught:
        list(workers.run([(fail, ("other",)), *tasks(2)], silent))
    assert "canary" not in str(caught.value)
    with pytest.raises(LeakError, match=r"leak gate: email: looks like email \(3 values\)") as refused:
        list(workers.run([(fail, ("ours",)), *tasks(2)], silent))
    assert refused.value.leaks == [Leak("email", "looks like email", 3)]
    assert len(list(workers.run(tasks(3), silent))) == 3, "an error must not put answers out of step"


def test_a_caller_who_has_had_enough_gets_no_stale_answers(workers: Workers) -> None:
    results = workers.run(tasks(4, 0.1), silent)
    next(results)
    results.close()
    assert [number for _, number, _ in workers.run(tasks(3), silent)] == [0, 1, 2]


def test_a_lost_worker_is_reported_and_replaced(workers: Workers) -> None:
    first = list(workers.run(tasks(2, 0.2), silent))
    os.kill(first[0][2], signal.SIGKILL)
    with pytest.raises(WorkerFailed, match="gone"):
        list(workers.run(tasks(4), silent))
    assert len(list(workers.run(tasks(4), silent))) == 4


def test_no_more_processes_than_tasks(workers: Workers) -> None:
    assert len({pid for *_, pid in workers.run(tasks(1), silent)}) == 1
    assert len(workers._workers) == 1


PARENT = """
import sys, time
from pii_pipeline_tests.unit.pipeline.test_workers import state, silent, tasks
from pii_pipeline.pipeline.workers import Workers
workers = Workers(2, state, ("x",))
print(*{pid for *_, pid in workers.run(tasks(4, 0.2), silent)}, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_survive_ctrl_c_and_leave_with_a_killed_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        time.sleep(0.3)
        assert all(alive(pid) for pid in pids)
        parent.kill()
        deadline = time.monotonic() + 20
        while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("error", [InputsGone("batch x"), LeakError([Leak("a", "b", 1, "c")])])
def test_what_a_batch_may_raise_or_return_survives_the_pipe(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
