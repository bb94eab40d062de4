"""One worker per stream and hour, and no waiting for the dead."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pii_pipeline.database import connect, reading
from pii_pipeline.ledger import LeaseHeld, LeaseLost, Ledger, process_owner
from pii_pipeline.ledger.lease import Lease
from pii_pipeline.ledger.processes import is_dead
from pii_pipeline_tests.unit.ledger.examples import HOUR, NEXT_HOUR

ELSEWHERE = "another-host/00000000:1:1"


def lease(ledger: Ledger, owner: str = "elsewhere", seconds: float = 60) -> Lease:
    """A lease without a heartbeat, as if its holder had stopped."""
    return Lease(ledger._engine, "logins", HOUR, owner, timedelta(seconds=seconds))


def test_a_held_lease_refuses_others_by_name_and_is_free_afterwards(ledger: Ledger) -> None:
    with ledger.lease("logins", HOUR):
        with pytest.raises(LeaseHeld) as refused, ledger.lease("logins", HOUR, owner=ELSEWHERE):
            pytest.fail("two hold it")
        assert refused.value.owner == process_owner()
        assert f"held by {process_owner()} until {refused.value.expires_at:%Y-%m-%d %H:%M}" in str(
            refused.value
        )
        assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)
        with pytest.raises(LeaseHeld), ledger.lease("logins", HOUR):
            pytest.fail("the same process twice")
        with ledger.lease("logins", NEXT_HOUR), ledger.lease("webshop", HOUR):
            pass
    with ledger.lease("logins", HOUR, owner=ELSEWHERE):
        pass


def test_a_lease_is_released_when_the_work_fails(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.lease("logins", HOUR):
        _ = 1 / 0
    with ledger.lease("logins", HOUR):
        pass


def test_an_expired_lease_is_taken_and_its_old_holder_neither_renews_nor_releases_it(ledger: Ledger) -> None:
    old = lease(ledger, seconds=0.2)
    old.acquire()
    new = lease(ledger)  # of the same name: two threads of a process have one
    with pytest.raises(LeaseHeld):
        new.acquire()
    time.sleep(0.3)
    new.acquire()
    with pytest.raises(LeaseLost):
        old.renew()
    old.release()
    with pytest.raises(LeaseHeld, match="held by elsewhere"):
        lease(ledger).acquire()
    new.release()
    lease(ledger).acquire()


def test_the_heartbeat_keeps_a_lease_longer_than_its_ttl(ledger: Ledger) -> None:
    with ledger.lease("logins", HOUR, owner="elsewhere", ttl=timedelta(seconds=0.8)):
        time.sleep(1.6)
        with pytest.raises(LeaseHeld):
            lease(ledger).acquire()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease ")]


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_work_whose_lease_was_lost_goes_on_and_leaves_the_new_holder_alone(ledger: Ledger) -> None:
    with ledger.lease("logins", HOUR, ttl=timedelta(seconds=0.4)) as old:
        old.release()  # as if it had expired while the database was away
        lease(ledger).acquire()
        time.sleep(0.3)
        with pytest.raises(LeaseLost):
            old.renew()
    with pytest.raises(LeaseHeld):
        lease(ledger).acquire()


HOLDER = """
import sys, time
from pii_pipeline.database import connect
from pii_pipeline.ledger import Ledger
from pii_pipeline_tests.unit.ledger.examples import HOUR
with Ledger(connect(sys.argv[1])).lease("logins", HOUR):
    print("held", flush=True)
    time.sleep(120)
"""


def test_a_killed_holder_is_succeeded_at_once(ledger: Ledger, database_url: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, database_url], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(LeaseHeld, match=f":{holder.pid}:"), ledger.lease("logins", HOUR):
            pytest.fail("its holder lives")
        holder.send_signal(signal.SIGKILL)
        # Not waited for: until its parent asks, a dead process is a zombie and still has its id.
        deadline = time.monotonic() + 10
        while True:
            try:
                with ledger.lease("logins", HOUR):
                    break
            except LeaseHeld:
                assert time.monotonic() < deadline, "far less than the 60 s of its lease"
                time.sleep(0.02)
    finally:
        holder.kill()
        holder.wait()


def test_only_a_process_of_this_host_that_is_gone_is_dead() -> None:
    me = process_owner()
    host, pid, start = me.split(":")
    assert not is_dead(me)
    assert is_dead(f"{host}:{pid}:{start}0"), "the same id, another process"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert is_dead(f"{host}:{gone.pid}:{start}")
    for unknown in (f"elsewhere/0:{gone.pid}:1", f"{host}:{gone.pid}:?", f"{host}:{gone.pid}", "me", ""):
        assert not is_dead(unknown)
    assert int(pid) == os.getpid()


def test_of_many_who_want_an_expired_lease_one_gets_it(ledger: Ledger, database_url: str) -> None:
    lease(ledger, seconds=-1).acquire()
    start, got = threading.Barrier(8), []

    def want(number: int) -> None:
        engine = connect(database_url)
        mine = Lease(engine, "logins", HOUR, f"wanting {number}", timedelta(seconds=60))
        start.wait()
        try:
            mine.acquire()
            got.append(number)
        except LeaseHeld:
            pass
        engine.dispose()

    threads = [threading.Thread(target=want, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    with reading(ledger._engine) as connection:
        assert connection.scalar(sa.text("select owner from ledger_leases")) == f"wanting {got[0]}"
