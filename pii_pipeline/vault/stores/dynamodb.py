"""The vault's store in DynamoDB.

Three tables. TABLE: a record by its key and, in it, by data subject and sealed original; indexes by subject
and by mark, which lag behind by moments: what somebody puts while it is being erased may stay. TABLE-audit:
the log by number. TABLE-state: consents by subject, what was spent by principal, the last anchor.
"""

from __future__ import annotations

import re
import secrets
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from pii_pipeline.vault.errors import VaultSettingError
from pii_pipeline.vault.model import MAX_ORIGINALS, Consent, RecordKey, SealedRecord, Stored
from pii_pipeline.vault.stores.dynamodb_calls import CONDITION_FAILED, DynamoDb, Item
from pii_pipeline.vault.stores.dynamodb_tables import AUDIT, BY_MARK, BY_SUBJECT, RECORDS, STATE, have_table
from pii_pipeline.vault.stores.interface import SETTING, Allowance, Entry
from pii_pipeline.vault.stores.rows import (
    Identity,
    Room,
    anchored_of,
    consent_of,
    encoded,
    entry_of,
    latest,
    levels_text,
    merged,
    oldest_first,
    rank,
    record_of,
)

_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,249}")  # 255, with what the others are called after it
_LOG = {"S": "audit"}
_WINDOWS_KEPT = timedelta(days=2)
_NO_LAST = 2**62


def open_dynamodb(table: str) -> DynamoDbStore:
    """As `open_store`, for the name of a table."""
    if not _NAME.fullmatch(table):
        raise VaultSettingError(f"{SETTING}: no name of a DynamoDB table — write dynamodb://TABLE")
    dynamodb = DynamoDb(SETTING)
    for name, layout in (table, RECORDS), (f"{table}-audit", AUDIT), (f"{table}-state", STATE):
        have_table(dynamodb, name, layout)
    return DynamoDbStore(dynamodb, table)


class DynamoDbStore:
    """A `VaultStore` over tables that are there."""

    def __init__(self, dynamodb: DynamoDb, table: str) -> None:
        self._dynamodb = dynamodb
        self._records = table
        self._audit = f"{table}-audit"
        self._state = f"{table}-state"

    def put(self, records: Sequence[SealedRecord]) -> Stored:
        new = sum(self._dynamodb.each(self._put, merged(records).items()))
        return Stored(new, len(records) - new)

    def _put(self, one: tuple[Identity, SealedRecord]) -> bool:
        """Whether it is new."""
        identity, record = one
        answer = self._dynamodb.ask(
            "put_item",
            self._records,
            {CONDITION_FAILED},
            Item=_item(identity, record),
            ConditionExpression="attribute_not_exists(#record)",
            ExpressionAttributeNames={"#record": "record"},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        if "Error" not in answer:
            return True
        there = answer["Item"]
        first, last = _value(there, "first_seen", "S"), _value(there, "last_seen", "S")
        if first and record.first_seen.isoformat() < first:
            self._widen(identity, "first_seen", ">", record.first_seen)
        if last and record.last_seen.isoformat() > last:
            self._widen(identity, "last_seen", "<", record.last_seen)
        return False

    def _widen(self, identity: Identity, name: str, unless: str, day: date) -> None:
        """The day, where it is still on the other side of what is there; nothing of what is gone by now."""
        self._dynamodb.ask(
            "update_item",
            self._records,
            {CONDITION_FAILED},
            Key=_record_key(identity),
            UpdateExpression="SET #day = :day",
            ConditionExpression=f"#day {unless} :day",
            ExpressionAttributeNames={"#day": name},
            ExpressionAttributeValues={":day": {"S": day.isoformat()}},
        )

    def find(self, keys: Sequence[RecordKey]) -> list[list[SealedRecord]]:
        distinct, room = dict.fromkeys(keys), Room()

        def find_one(key: RecordKey) -> list[SealedRecord]:
            records = []
            for item in self._of_key(key):
                records.append(_record(key, item))
                room.take(records[-1].sealed)
            return oldest_first(records)

        found = dict(zip(distinct, self._dynamodb.each(find_one, distinct), strict=True))
        return [list(found[key]) for key in keys]

    def count(self, keys: Sequence[RecordKey]) -> list[int]:
        distinct = dict.fromkeys(keys)
        counts = dict(zip(distinct, self._dynamodb.each(self._count, distinct), strict=True))
        return [counts[key] for key in keys]

    def _count(self, key: RecordKey) -> int:
        """Not all of more than there should be: a page has few where they are long."""
        return sum(1 for _ in islice(self._of_key(key, ProjectionExpression="#name"), MAX_ORIGINALS))

    def _of_key(self, key: RecordKey, **named: Any) -> Iterator[Item]:
        of = _equal("record", {"B": _partition(key)})
        return self._dynamodb.query(self._records, ConsistentRead=True, **of, **named)

    def delete(self, keys: Sequence[RecordKey]) -> int:
        return self._delete(self._dynamodb.each(lambda key: list(self._of_key(key)), dict.fromkeys(keys)))

    def delete_subjects(self, subjects: Sequence[bytes]) -> int:
        named = list(dict.fromkeys(filter(None, subjects)))  # the others name nobody
        said = self._dynamodb.each(self._consents_of, named)
        self._dynamodb.delete(
            self._state, [{"of": item["of"], "name": item["name"]} for items in said for item in items]
        )
        return self._delete_indexed(BY_SUBJECT, "subject", named)

    def delete_marked(self, marks: Sequence[bytes]) -> int:
        return self._delete_indexed(BY_MARK, "mark", dict.fromkeys(filter(None, marks)))

    def _delete_indexed(self, index: str, name: str, values: Iterable[bytes]) -> int:
        def of_value(value: bytes) -> list[Item]:
            return list(self._dynamodb.query(self._records, IndexName=index, **_equal(name, {"B": value})))

        return self._delete(self._dynamodb.each(of_value, values))

    def _delete(self, found: Iterable[Iterable[Item]]) -> int:
        keys = [{"record": item["record"], "part": item["part"]} for items in found for item in items]
        self._dynamodb.delete(self._records, keys)
        return len(keys)

    def put_consents(self, consents: Sequence[Consent]) -> None:
        self._dynamodb.each(self._put_consent, latest(consents))

    def _put_consent(self, consent: Consent) -> None:
        item = {
            "of": {"B": _consents_of(consent.subject)},
            "name": {"S": consent.stream},
            "levels": {"S": levels_text(consent.levels)},
            "cumulative": {"S": "1" if consent.cumulative else "0"},
            "at": {"S": consent.at.astimezone(UTC).isoformat()},
            "rank": {"B": rank(consent)},
            "seal": {"B": consent.seal},
        }
        self._put_higher(item, "rank")

    def _put_higher(self, item: Item, by: str) -> None:
        """Puts an item of the state, unless what is there is higher `by` an attribute."""
        self._dynamodb.ask(
            "put_item",
            self._state,
            {CONDITION_FAILED},
            Item=item,
            ConditionExpression="attribute_not_exists(#by) OR #by <= :by",
            ExpressionAttributeNames={"#by": by},
            ExpressionAttributeValues={":by": item[by]},
        )

    def _consents_of(self, subject: bytes) -> list[Item]:
        of = {"B": _consents_of(subject)}
        return list(self._dynamodb.query(self._state, ConsistentRead=True, **_equal("of", of)))

    def consents(self, stream: str, subjects: Sequence[bytes]) -> Mapping[bytes, Consent]:
        by_partition = {_consents_of(subject): subject for subject in subjects}
        keys = [{"of": {"B": of}, "name": {"S": stream}} for of in by_partition]
        said: dict[bytes, Consent] = {}
        for item in self._dynamodb.get(self._state, keys):
            subject = by_partition[item["of"]["B"]]
            columns = *((name, "S") for name in ("levels", "cumulative", "at")), ("rank", "B"), ("seal", "B")
            said_so = (_value(item, name, kind) for name, kind in columns)
            said[subject] = consent_of(subject, stream, *said_so)
        return said

    def records(self) -> int:
        return self._dynamodb.ask("describe_table", self._records)["Table"]["ItemCount"]

    def spend(self, allowances: Sequence[Allowance], amount: int) -> Allowance | None:
        for allowance in allowances:
            if amount > allowance.most:
                return allowance
        if not allowances:
            return None
        expires = str(int(time.time() + _WINDOWS_KEPT.total_seconds()))
        updates = [
            {
                "Update": {
                    "TableName": self._state,
                    "Key": {
                        "of": {"B": encoded(b"spent", allowance.principal.encode())},
                        "name": {"S": allowance.window},
                    },
                    "UpdateExpression": "SET #expires = if_not_exists(#expires, :expires) ADD #spent :amount",
                    "ConditionExpression": "attribute_not_exists(#spent) OR #spent <= :most",
                    "ExpressionAttributeNames": {"#expires": "expires", "#spent": "spent"},
                    "ExpressionAttributeValues": {
                        ":expires": {"N": expires},
                        ":amount": {"N": str(amount)},
                        ":most": {"N": str(allowance.most - amount)},
                    },
                }
            }
            for allowance in allowances
        ]
        short = self._dynamodb.transact(self._state, updates, str(uuid.uuid4()))
        return next(
            (allowance for allowance, is_short in zip(allowances, short, strict=True) if is_short), None
        )

    def append(self, entries: Sequence[Entry]) -> bool:
        if not entries:
            return True
        writer = secrets.token_bytes(16)
        writes = [self._new_entry(entry, writer) for entry in entries]
        if entries[0].sequence > 1:
            before = self._entry_key(entries[0].sequence - 1)
            writes.insert(0, {"ConditionCheck": before | _condition("attribute_exists(#log)")})
        if not any(self._dynamodb.transact(self._audit, writes, str(uuid.uuid4()))):
            return True
        # Written by an earlier try, whose answer was lost?
        key = self._entry_key(entries[0].sequence)["Key"]
        there = self._dynamodb.ask("get_item", self._audit, Key=key, ConsistentRead=True).get("Item")
        return there is not None and _value(there, "writer", "B") == writer

    def _new_entry(self, entry: Entry, writer: bytes) -> dict[str, Any]:
        key = self._entry_key(entry.sequence)
        item = {
            **key.pop("Key"),
            "text": {"S": entry.text},
            "hash": {"B": entry.hash},
            "seal": {"B": entry.seal},
            "writer": {"B": writer},
        }
        return {"Put": key | {"Item": item} | _condition("attribute_not_exists(#log)")}

    def _entry_key(self, sequence: int) -> dict[str, Any]:
        return {"TableName": self._audit, "Key": {"log": _LOG, "sequence": {"N": str(sequence)}}}

    def last_entry(self) -> Entry | None:
        answer = self._dynamodb.ask(
            "query",
            self._audit,
            ConsistentRead=True,
            ScanIndexForward=False,
            Limit=1,
            **_equal("log", _LOG),
        )
        return next(map(_entry, answer["Items"]), None)

    def entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        if last is not None and last < first:
            return
        found = self._dynamodb.query(
            self._audit,
            ConsistentRead=True,
            KeyConditionExpression="#log = :log AND #sequence BETWEEN :first AND :last",
            ExpressionAttributeNames={"#log": "log", "#sequence": "sequence"},
            ExpressionAttributeValues={
                ":log": _LOG,
                ":first": {"N": str(first)},
                ":last": {"N": str(_NO_LAST if last is None else last)},
            },
        )
        yield from map(_entry, found)

    def anchored(self) -> tuple[int, datetime] | None:
        item = self._dynamodb.ask("get_item", self._state, Key=_ANCHOR, ConsistentRead=True).get("Item")
        return item and anchored_of(_value(item, "sequence", "N"), _value(item, "at", "S"))

    def remember_anchor(self, sequence: int, at: datetime) -> None:
        said = {"sequence": {"N": str(sequence)}, "at": {"S": at.astimezone(UTC).isoformat()}}
        self._put_higher(_ANCHOR | said, "sequence")

    def close(self) -> None:
        self._dynamodb.close()


_ANCHOR: dict[str, Any] = {"of": {"B": encoded(b"anchor")}, "name": {"S": "anchor"}}


def _partition(key: RecordKey) -> bytes:
    return encoded(key.stream.encode(), key.field.encode(), key.pseudonym.encode())


def _record_key(identity: Identity) -> dict[str, Any]:
    stream, field, pseudonym, subject, digest = identity
    partition = encoded(stream.encode(), field.encode(), pseudonym)
    return {"record": {"B": partition}, "part": {"B": subject + digest}}


def _item(identity: Identity, record: SealedRecord) -> Item:
    item = _record_key(identity) | {
        "sealed": {"B": record.sealed},
        "first_seen": {"S": record.first_seen.isoformat()},
        "last_seen": {"S": record.last_seen.isoformat()},
    }
    if record.subject:  # an index has no room for what is empty
        item["subject"] = {"B": record.subject}
    if record.mark:
        item["mark"] = {"B": record.mark}
    return item


def _record(key: RecordKey, item: Item) -> SealedRecord:
    return record_of(
        key,
        _value(item, "subject", "B") if "subject" in item else b"",
        _value(item, "sealed", "B"),
        _value(item, "mark", "B") if "mark" in item else b"",
        _value(item, "first_seen", "S"),
        _value(item, "last_seen", "S"),
    )


def _entry(item: Item) -> Entry:
    columns = ("sequence", "N"), ("text", "S"), ("hash", "B"), ("seal", "B")
    return entry_of(*(_value(item, name, kind) for name, kind in columns))


def _value(item: Item, name: str, kind: str) -> Any:
    """An attribute of an item, None where it is not there or of another type."""
    return item.get(name, {}).get(kind)


def _consents_of(subject: bytes) -> bytes:
    return encoded(b"consent", subject)


def _equal(name: str, value: Item) -> dict[str, Any]:
    """The condition of a query for one value of a partition key."""
    return {
        "KeyConditionExpression": "#name = :value",
        "ExpressionAttributeNames": {"#name": name},
        "ExpressionAttributeValues": {":value": value},
    }


def _condition(expression: str) -> dict[str, Any]:
    return {"ConditionExpression": expression, "ExpressionAttributeNames": {"#log": "log"}}
