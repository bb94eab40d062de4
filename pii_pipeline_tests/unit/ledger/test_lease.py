"""One worker per stream and hour, no waiting for the dead, and no commit of who was overtaken."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pii_pipeline.database import connect, reading, upgrade
from pii_pipeline.ledger import VALIDATED_EVENTS, LeaseHeld, LeaseLost, Ledger, process_owner
from pii_pipeline.ledger.lease import Lease
from pii_pipeline.ledger.processes import is_dead
from pii_pipeline_tests.unit.ledger.examples import HOUR, NEXT_HOUR, sealed, validate

ELSEWHERE = "another-host/00000000:1:1"


def lease(ledger: Ledger, owner: str = "elsewhere", seconds: float = 60) -> Lease:
    """A lease without a heartbeat, as if its holder had stopped."""
    return Lease(ledger._engine, f"logins {HOUR}", owner, timedelta(seconds=seconds))


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


def test_whatever_has_a_name_can_be_leased(ledger: Ledger) -> None:
    with (
        ledger.named_lease("drain logins"),
        ledger.named_lease("compact logins"),
        ledger.lease("logins", HOUR),
        pytest.raises(LeaseHeld, match=r"^drain logins is held by "),
        ledger.named_lease("drain logins"),
    ):
        pytest.fail("two hold it")
    with ledger.named_lease("drain logins"):
        pass


def test_a_commit_is_its_lease_holders(ledger: Ledger) -> None:
    first, second = sealed(ledger, "a", "b")
    old = lease(ledger, seconds=0.2)
    old.acquire()
    validate(ledger, first, lease=old)
    time.sleep(0.3)
    new = lease(ledger)
    new.acquire()
    for batch in (first, second):
        with pytest.raises(LeaseLost, match=f"the lease of logins {HOUR} expired and was taken"):
            validate(ledger, batch, "v2", lease=old)
    assert ledger.committed_batches("logins", VALIDATED_EVENTS) == {first.id}
    new.release()
    with pytest.raises(LeaseLost):  # whoever had it meanwhile may have committed
        validate(ledger, first, "v2", lease=old)
    commit = ledger.commit_of(first.id, VALIDATED_EVENTS)
    assert commit is not None and commit.fingerprint == "v1"


def test_a_lease_that_expired_and_that_nobody_wanted_is_still_held(ledger: Ledger) -> None:
    """After an outage of the database, of all the world."""
    [batch] = sealed(ledger, "a")
    mine = lease(ledger, seconds=0.1)
    mine.acquire()
    time.sleep(0.2)
    mine.ttl = timedelta(seconds=60)
    validate(ledger, batch, lease=mine)
    with pytest.raises(LeaseHeld):
        lease(ledger).acquire()


def test_nobody_takes_a_lease_from_a_commit_that_confirmed_it(ledger: Ledger, database_url: str) -> None:
    old = lease(ledger, seconds=0.1)
    old.acquire()
    time.sleep(0.2)
    taken, done = threading.Event(), threading.Event()

    def take() -> None:
        engine = connect(database_url)
        with suppress(LeaseHeld):
            Lease(engine, old.name, ELSEWHERE, timedelta(seconds=60)).acquire()
            taken.set()
        engine.dispose()
        done.set()

    with ledger._engine.begin() as connection:
        old.ttl = timedelta(seconds=60)
        old.confirm(connection)
        thread = threading.Thread(target=take)
        thread.start()
        assert not done.wait(0.5), "it waits for the end of the transaction"
    thread.join()
    assert not taken.is_set()
    old.renew()


# A host of its own, as far as leases can tell: its clock is an hour slow, nobody else knows its processes.
OTHER_HOST = """
import sys, time
from datetime import UTC, datetime, timedelta
from pii_pipeline.database import connect
from pii_pipeline.ledger import Ledger, LeaseLost, processes, tables
from pii_pipeline_tests.unit.ledger.examples import HOUR, validate

processes._host = lambda: "slow-host/00000000"

class SlowClock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) - timedelta(hours=1)

tables.datetime = SlowClock
ledger = Ledger(connect(sys.argv[1]))
first, second = ledger.batches("logins", HOUR)
with ledger.lease("logins", HOUR, ttl=timedelta(seconds=1.5)) as lease:
    validate(ledger, first, "slow", lease=lease)
    print("held", flush=True)
    sys.stdin.readline()
    try:
        validate(ledger, second, "slow", lease=lease)
        print("committed", flush=True)
    except LeaseLost:
        print("refused", flush=True)
"""


def test_a_host_that_stopped_for_longer_than_its_lease_commits_nothing_more(
    postgres_database_url: str,
) -> None:
    engine = connect(postgres_database_url)
    upgrade(engine)
    ledger = Ledger(engine)
    first, second = sealed(ledger, "a", "b")
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_HOST, postgres_database_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "held\n"
        time.sleep(2)  # longer than it lasts: the other one renews it, by the database's clock
        with pytest.raises(LeaseHeld, match="slow-host"), ledger.lease("logins", HOUR):
            pytest.fail("its holder lives, and nobody here can tell otherwise")
        other.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 10
        while True:
            try:
                with ledger.lease("logins", HOUR) as mine:
                    other.send_signal(signal.SIGCONT)
                    other.stdin.write("go on\n")
                    other.stdin.flush()
                    assert other.stdout.readline() == "refused\n"
                    validate(ledger, second, "here", lease=mine)
                break
            except LeaseHeld:
                assert time.monotonic() < deadline, "it lasts 1.5 s"
                time.sleep(0.1)
        assert other.wait(timeout=30) == 0
    finally:
        other.kill()
        other.wait()
        for pipe in (other.stdin, other.stdout):
            if pipe:
                pipe.close()
    made = {batch.id: ledger.commit_of(batch.id, VALIDATED_EVENTS) for batch in (first, second)}
    assert [commit and commit.fingerprint for commit in made.values()] == ["slow", "here"]
    engine.dispose()


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
        mine = Lease(engine, f"logins {HOUR}", f"wanting {number}", timedelta(seconds=60))
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
