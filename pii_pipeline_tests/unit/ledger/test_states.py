"""Any sequence of landings, seals and commits: nothing is lost, nothing is in two places."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pii_pipeline.database import connect, upgrade
from pii_pipeline.ledger import VALIDATED_EVENTS, Batch, Ledger
from pii_pipeline_tests.unit.ledger.examples import HOUR, NEXT_HOUR, file, landed, validate

HOURS = (HOUR, NEXT_HOUR)


class LedgerStates(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.engine = connect(f"sqlite:///{Path(self.folder.name) / 'ledger.db'}")
        upgrade(self.engine)
        self.ledger = Ledger(self.engine)
        self.hour_of_object: dict[str, str] = {}
        self.sealed: list[Batch] = []
        self.committed: dict[str, tuple[int, str]] = {}

    def teardown(self) -> None:
        self.engine.dispose()
        self.folder.cleanup()

    @rule(hour=st.sampled_from(HOURS), names=st.lists(st.sampled_from("abcdefgh"), max_size=4))
    def enter(self, hour: str, names: list[str]) -> None:
        new = {landed(name).uri for name in names} - self.hour_of_object.keys()
        assert self.ledger.enter("s", hour, [landed(name) for name in names]) == len(new)
        self.hour_of_object |= dict.fromkeys(new, hour)

    @rule(hour=st.sampled_from(HOURS), limit=st.sampled_from([1, 25, 1000]))
    def seal(self, hour: str, limit: int) -> None:
        new = self.ledger.seal("s", hour, limit)
        largest = max((item.size for batch in new for item in batch.objects), default=0)
        assert all(batch.bytes <= limit + largest for batch in new)
        self.sealed += new

    @precondition(lambda self: self.sealed)
    @rule(data=st.data(), fingerprint=st.sampled_from(["v1", "v2"]))
    def commit(self, data: st.DataObject, fingerprint: str) -> None:
        batch = data.draw(st.sampled_from(self.sealed))
        before = self.committed.get(batch.id)
        earlier = self.ledger.earlier_commits("s", VALIDATED_EVENTS, batch, HOUR)
        sequence = before[0] if before else len(self.committed) + 1
        assert [commit.sequence for commit in earlier.commits] == list(range(1, sequence))
        made = validate(self.ledger, batch, fingerprint, expected_head=earlier.head)
        assert made.commit.sequence == sequence
        replaced = before is not None and before[1] != fingerprint
        assert [f.dataset for f in made.superseded] == ([VALIDATED_EVENTS, "bad_events"] if replaced else [])
        self.committed[batch.id] = (sequence, fingerprint)

    @invariant()
    def every_object_is_where_it_was_put(self) -> None:
        if not hasattr(self, "ledger"):
            return
        there = [batch for hour in HOURS for batch in self.ledger.batches("s", hour)]
        assert sorted(there, key=lambda b: b.id) == sorted(self.sealed, key=lambda b: b.id)
        uris = [(item.uri, batch.hour) for batch in there for item in batch.objects]
        assert len(uris) == len(dict(uris))
        assert dict(uris).items() <= self.hour_of_object.items()
        status = self.ledger.status("s")
        assert sum(hour.unsealed for hour in status) == len(self.hour_of_object) - len(uris)
        assert sum(hour.batches - hour.pending(VALIDATED_EVENTS) for hour in status) == len(self.committed)
        assert self.ledger.files("s", VALIDATED_EVENTS) == [
            file(batch, VALIDATED_EVENTS, self.committed[batch.id][1]).path
            for batch in there
            if batch.id in self.committed
        ]


LedgerStates.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
test_states = LedgerStates.TestCase
