"""Log-in messages, invented and real, under the stream's contract."""

import gzip
import json
from collections import Counter
from datetime import UTC, datetime

from pii_pipeline.samples.generate import generate
from pii_pipeline.samples.planted import Planted
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.unit.samples.reference import Reference, contract_of

END = datetime(2026, 11, 22, 10, 55, tzinfo=UTC)
CONTRACT = contract_of("logins")


def test_one_message_of_a_hundred_has_another_shape() -> None:
    planted = Planted()
    records = b"".join(generate(CONTRACT, 1_000, 3, END, planted)).split(b"\n")[:-1]
    verdicts = Counter(map(Reference(CONTRACT, END).judge, records))
    assert verdicts == {None: 990, "schema_violation": 10}
    assert planted.records == 1_000 and planted.failure_types == {"schema_violation": 10}
    assert b"".join(generate(CONTRACT, 1_000, 3, END)).split(b"\n")[:-1] == records
    logins = [json.loads(record) for record in records if b"user_id" in record]
    for field in ("ip", "device_id", "user_id"):
        assert 50 < len({login[field] for login in logins}) < 900, field
    assert 0 < sum(login["ip"] is None for login in logins) < 50
    assert 0.2 < sum(login["locale"] is None for login in logins) / len(logins) < 0.4


def test_of_the_real_messages_only_the_odd_one_is_bad() -> None:
    messages = json.loads(gzip.decompress((shared_data() / "login_queue/messages.json.gz").read_bytes()))
    judge = Reference(CONTRACT, END).judge
    bad = [at for at, message in enumerate(messages) if judge(json.dumps(message).encode()) is not None]
    assert len(messages) == 100 and bad == [12]
    odd = Reference(CONTRACT, END).schema.iter_errors(messages[12])
    assert {error.validator for error in odd} == {"required"}


def test_the_people_are_those_of_the_web_shop() -> None:
    def users(stream: str) -> set[str]:
        lines = b"".join(generate(contract_of(stream), 900, 1, END)).split(b"\n")
        found = (line.split(b'"user_id":"')[1][:36] for line in lines if b'"user_id":"' in line)
        return {user.decode(errors="replace") for user in found}

    assert len(users("logins") & users("webshop")) > 20
