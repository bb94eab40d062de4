from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import pytest

from pii_pipeline.pipeline.layer import InputsGone
from pii_pipeline.pipeline.workers import Task, WorkerFailed, Workers
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


def tasks(count: int, seconds: float = 0.0) -> dict[Hashable, Task]:
    return {number: (answer, (number, seconds * (count - number))) for number in range(count)}


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
        list(workers.run({"first": (fail, ("other",)), **tasks(2)}, silent))
    assert "canary" not in str(caught.value)
    with pytest.raises(LeakError, match=r"leak gate: email: looks like email \(3 values\)") as refused:
        list(workers.run({"first": (fail, ("ours",)), **tasks(2)}, silent))
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


def test_an_offer_is_done_by_who_has_nothing_else_to_do_and_only_once(workers: Workers) -> None:
    results = workers.run(tasks(2, 0.1), silent)
    next(results)
    workers.offer("early", (answer, (7, 0.0)))
    workers.offer("never asked for", (answer, (8, 0.0)))
    list(results)
    later: dict[Hashable, Task] = {"now": (answer, (9, 0.2)), "early": (fail, ("other",))}
    assert [number for _, number, _ in workers.run(later, silent)] == [9, 7], (
        "not what the key stands for now"
    )
    assert [number for _, number, _ in workers.run(tasks(3), silent)] == [0, 1, 2]


def test_an_offer_that_fails_is_done_again_when_asked_for(workers: Workers) -> None:
    results = workers.run(tasks(2, 0.1), silent)
    next(results)
    workers.offer("early", (fail, ("other",)))
    list(results)
    list(workers.run({"meanwhile": (answer, (1, 0.2))}, silent))
    assert [number for _, number, _ in workers.run({"early": (answer, (2, 0.0))}, silent)] == [2]
    workers.offer("early", (fail, ("ours",)))
    with pytest.raises(LeakError):
        list(workers.run({"early": (fail, ("ours",))}, silent))


def test_offers_that_were_withdrawn_are_made_anew(workers: Workers) -> None:
    results = workers.run(tasks(2, 0.1), silent)
    next(results)
    workers.offer("early", (answer, (7, 0.0)))
    list(results)
    list(workers.run({"meanwhile": (answer, (1, 0.2))}, silent))
    workers.withdraw()
    assert [number for _, number, _ in workers.run({"early": (answer, (2, 0.0))}, silent)] == [2]


def record(name: str, path: str, seconds: float, progress: Callable[..., None]) -> int:
    time.sleep(seconds)
    with Path(path).open("a") as file:
        print(os.getpid(), file=file)
    return os.getpid()


def begun(workers: Workers, key: str, task: Task) -> int:
    """The process that is at the offer, while nothing else is to be done."""
    list(workers.run(tasks(2), silent))
    workers.offer(key, task)
    (worker,) = workers._busy
    return workers._workers[worker].pid


def test_an_offer_that_is_under_way_is_waited_for(workers: Workers, tmp_path: Path) -> None:
    task: Task = (record, (str(tmp_path / "log"), 0.3))
    begun(workers, "early", task)
    list(workers.run({"early": task}, silent))
    assert len((tmp_path / "log").read_text().split()) == 1


def test_a_worker_that_is_lost_at_an_offer_costs_nothing_else(workers: Workers, tmp_path: Path) -> None:
    slow: Task = (record, (str(tmp_path / "log"), 30.0))
    os.kill(begun(workers, "early", slow), signal.SIGKILL)
    first, _ = workers.run({"early": (answer, (1, 0.0)), **tasks(1)}, silent)
    assert first[1] == 1
    for process in workers._workers.values():
        process.kill()
        process.wait()
    workers.offer("early", slow)
    workers.offer("later", slow)
    assert len(list(workers.run(tasks(3), silent))) == 3


def test_a_worker_that_is_at_a_withdrawn_offer_is_ended(workers: Workers, tmp_path: Path) -> None:
    pid = begun(workers, "early", (record, (str(tmp_path / "log"), 30.0)))
    workers.withdraw()
    assert not alive(pid)
    assert len(list(workers.run(tasks(3), silent))) == 3


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
