"""Pseudonyms of an hour's lake, read back through the vault: is there what should be there?

Read as anybody reads: under a principal, on a lawful basis, on record.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pii_pipeline.lake import read_parquet
from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, VAULT_RECORDS, WITHOUT_ORIGINALS, CommittedFile
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.shares import by_contract
from pii_pipeline.pipeline.subjects import windows
from pii_pipeline.pipeline.vault_records import pseudonyms_again
from pii_pipeline.privacy.documents import Look, as_treated
from pii_pipeline.privacy.encodings import from_base64, from_uuid
from pii_pipeline.privacy.nested import leaves, plain
from pii_pipeline.privacy.plan import (
    CONTRACT,
    EVENT_TIME,
    KEY_LINK,
    SUBJECT_TOKEN,
    Plan,
    Step,
    column_leaves,
    compile_plan,
)
from pii_pipeline.streams.model import Stream
from pii_pipeline.vault.model import VERIFICATION, LawfulBasis, Reason, RecordKey, Withheld
from pii_pipeline.vault.policy import PIPELINE

ROWS = 1_000
"""Neighbouring rows of one file of the hour, out of which pseudonyms are chosen."""
PSEUDONYMS = 100


@dataclass(frozen=True)
class Resolved:
    """What came of the pseudonyms of a sample. `told`: an original that has this pseudonym again; `wrong`:
    only others; `missing`: none. `forgotten`: their people were, or their days have expired. `spared`: so
    many may be missing, since their originals were too long for the vault. `tampered`: what the vault has of
    these was altered in its database, whatever else it told."""

    asked: int = 0
    told: int = 0
    wrong: int = 0
    missing: int = 0
    forgotten: int = 0
    spared: int = 0
    tampered: int = 0

    @property
    def problem(self) -> str | None:
        """What is not as it should be."""
        if self.tampered:
            return (
                f"of {self.tampered} of {self.asked} pseudonyms records were altered in the vault's database"
            )
        if self.wrong:
            return f"{self.wrong} of {self.asked} pseudonyms have originals that do not become them again"
        if self.missing > self.spared:
            return f"of {self.missing} of {self.asked} pseudonyms the vault has no original"
        return None


class _Sampled(NamedTuple):
    """A pseudonym in the lake under a version of the contract, and the salt of whose it is; empty if there is
    none any more."""

    contract: str
    field: str
    pseudonym: str
    salt: bytes


def resolve_sample(installation: Installation, stream: Stream, hour: str) -> Resolved:
    """Reads the originals of some pseudonyms of the hour: others each time."""
    chance = random.Random()
    files = list(_loaded_files(installation, stream, hour))
    if not files:
        return Resolved()
    ((file, spared),) = chance.choices(files, [file.rows for file, _ in files])
    plans = {contract.contract: compile_plan(contract) for contract in stream.active}
    found = list(dict.fromkeys(_sampled(installation, stream, plans, file, chance)))
    chosen = chance.sample(found, min(PSEUDONYMS, len(found)))
    readable = [item for item in chosen if item.salt]
    keys = [RecordKey(stream.name, item.field, item.pseudonym) for item in readable]
    reason = Reason(LawfulBasis.LEGAL_OBLIGATION, VERIFICATION)
    answers = installation.vault.read(PIPELINE, reason, keys) if keys else []
    told = wrong = missing = 0
    for item, answer in zip(readable, answers, strict=True):
        originals = [original.encode() for original in answer.originals]
        plan = plans[item.contract]
        keyring = installation.pseudonym_keys(stream, plan.contract)
        again = pseudonyms_again(keyring, plan, item.field, originals, [item.salt] * len(originals))
        right = item.pseudonym in [pseudonym.hex() for pseudonym in again]
        told, wrong, missing = told + right, wrong + bool(again and not right), missing + (not again)
    tampered = sum(answer.withheld is Withheld.TAMPERED for answer in answers)
    return Resolved(len(chosen), told, wrong, missing, len(chosen) - len(readable), spared, tampered)


def _loaded_files(
    installation: Installation, stream: Stream, hour: str
) -> Iterator[tuple[CommittedFile, int]]:
    """The lake's files of the batches that the vault has, and how many originals of each were too long."""
    ledger = installation.ledger
    for batch in ledger.batches(stream.name, hour):
        lake = ledger.commit_of(batch.id, PSEUDONYMIZED_EVENTS)
        vault = ledger.commit_of(batch.id, VAULT_RECORDS)
        if lake and vault and vault.upstream == lake.fingerprint and WITHOUT_ORIGINALS not in vault.counts:
            too_long = lake.counts.get("originals_too_long", 0)
            assert isinstance(too_long, int)
            for file in lake.files:
                if file.dataset == PSEUDONYMIZED_EVENTS and file.rows:
                    yield file, too_long


def _sampled(
    installation: Installation,
    stream: Stream,
    plans: Mapping[str, Plan],
    file: CommittedFile,
    chance: random.Random,
) -> Iterator[_Sampled]:
    """The pseudonyms of reversible fields in some rows of the file. Rows of a contract that is not active any
    more are left out."""
    columns = {name for plan in plans.values() for name, step in plan.root.fields if _reversible(plan, step)}
    start = file.first_row + chance.randrange(max(1, file.rows - ROWS + 1))
    some = range(start, min(start + ROWS, file.span.stop))
    system = [CONTRACT, EVENT_TIME, KEY_LINK, SUBJECT_TOKEN]
    lake = installation.zones.lake
    for part in read_parquet(lake, file.path, columns=[*system, *sorted(columns)], rows=some):
        for contract, rows in by_contract(pa.Table.from_batches([part]), stream):
            if contract is None:
                continue
            plan = plans[contract.contract]
            salts = _salts(installation, stream, rows)
            look = Look(as_treated, lambda leaf, plan=plan: leaf.path in plan.reversible)
            for name, step in plan.root.fields:
                if _reversible(plan, step):
                    for leaf, values, at in leaves(plain(rows[name]), step, np.arange(rows.num_rows), look):
                        for value, row in zip(values.to_pylist(), at.tolist(), strict=True):
                            if value is not None:
                                yield _Sampled(contract.contract, leaf.path, value, salts[row])


def _reversible(plan: Plan, step: Step) -> bool:
    return any(leaf.path in plan.reversible for leaf in column_leaves(step))


def _salts(installation: Installation, stream: Stream, rows: pa.Table) -> list[bytes]:
    """The salt of the person behind each row; empty of the forgotten, and where the day has expired."""
    when = windows(plain(rows[EVENT_TIME]))
    keyring = installation.keyring(stream, when.days)
    tokens, links = from_base64(plain(rows[SUBJECT_TOKEN])), from_uuid(plain(rows[KEY_LINK]))
    refs: list[bytes | None] = [None] * rows.num_rows
    for number, day in enumerate(when.days):
        chosen: Sequence[int] = np.flatnonzero(when.window == number).tolist()
        if keyring.window_keys[day] is not None:
            opened = keyring.open_subject_tokens(day, [tokens[i] for i in chosen], [links[i] for i in chosen])
            for row, ref in zip(chosen, opened, strict=True):
                refs[row] = ref
    salts = installation.keys.salts_of([ref for ref in refs if ref is not None])
    return [salts.get(ref, b"") if ref else b"" for ref in refs]
