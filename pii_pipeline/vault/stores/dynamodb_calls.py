"""DynamoDB through boto3: what was not done is asked for again, and errors are told in our words."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

from pii_pipeline.aws import AwsError, client, session, typed_errors
from pii_pipeline.vault.errors import VaultSettingError, VaultUnavailable

T = TypeVar("T")
R = TypeVar("R")

Item = Mapping[str, Any]
"""Attributes by name, as DynamoDB writes them: ``{"text": {"S": "…"}}``."""

PATIENCE = 60.0
"""Seconds in which a call that was throttled, or met another one, is begun again, after boto3's own tries."""
THREADS = 16
"""Calls at once: most of a call is waiting."""
_QUEUED = 2 * THREADS
"""Of a caller: enough that no thread is idle while he waits for the first of them."""
CONDITION_FAILED = "ConditionalCheckFailedException"
MISSING = "ResourceNotFoundException"

_GET_AT_ONCE = 100
_WRITE_AT_ONCE = 25
_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_MISSED = "ConditionalCheckFailed"
_BUSY = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


class DynamoDb:
    """A client and threads of one process. `setting`: what says which table, for messages.

    Making one raises `VaultSettingError` where boto3 knows no region; all methods raise `VaultUnavailable`.
    """

    def __init__(self, setting: str) -> None:
        self._setting = setting
        try:
            self._client = client(session(), "dynamodb", connections=2 * THREADS)
        except AwsError as error:
            raise VaultSettingError(f"{setting}: {error}") from None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="dynamodb")

    def ask(self, operation: str, table: str, /, expected: Collection[str] = (), **named: Any) -> Any:
        """What `operation` (in boto3's spelling) of a table answers. An error whose code is `expected` is an
        answer too: one with "Error"."""
        from botocore.exceptions import ClientError

        def attempt() -> Any:
            try:
                return getattr(self._client, operation)(TableName=table, **named)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in expected:
                    return error.response
                raise

        return self._patiently(attempt, operation, table)

    def query(self, table: str, /, **named: Any) -> Iterator[Item]:
        """All items that a query finds, page by page."""
        yield from self._pages("query", table, named)

    def scan(self, table: str, /) -> Iterator[Item]:
        """All items of a table, page by page."""
        yield from self._pages("scan", table, {"ConsistentRead": True})

    def _pages(self, operation: str, table: str, named: Mapping[str, Any]) -> Iterator[Item]:
        start: dict[str, Any] = {}
        while True:
            answer = self.ask(operation, table, **named, **start)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def get(self, table: str, keys: Sequence[Item]) -> list[Item]:
        """The items of these distinct keys that are there, in no order."""
        found: list[Item] = []

        def get_some(some: Sequence[Item]) -> None:
            self._until_done(
                "batch_get_item",
                table,
                {table: {"Keys": some, "ConsistentRead": True}},
                "UnprocessedKeys",
                lambda answer: found.extend(answer["Responses"].get(table, ())),
            )

        self.each(get_some, _chunks(keys, _GET_AT_ONCE))
        return found

    def delete(self, table: str, keys: Sequence[Item]) -> None:
        """Deletes the items of these distinct keys."""

        def delete_some(some: Sequence[Item]) -> None:
            requests = [{"DeleteRequest": {"Key": key}} for key in some]
            self._until_done("batch_write_item", table, {table: requests}, "UnprocessedItems")

        self.each(delete_some, _chunks(keys, _WRITE_AT_ONCE))

    def transact(self, table: str, writes: Sequence[Mapping[str, Any]], token: str) -> list[bool]:
        """Does all of `writes`, or none: whose conditions did not hold; none of them if it was done.

        `token`: of a transaction that is begun again with the same one, no more than one is done.
        """

        def attempt() -> Any:
            from botocore.exceptions import ClientError

            try:
                return self._client.transact_write_items(TransactItems=writes, ClientRequestToken=token)
            except ClientError as error:
                reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", ())}
                if _MISSED in reasons:
                    return error.response
                if reasons & _BUSY:
                    raise _Busy from None
                raise

        answer = self._patiently(attempt, "transact_write_items", table)
        reasons = answer.get("CancellationReasons", [{}] * len(writes))
        return [reason.get("Code") == _MISSED for reason in reasons]

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """What `work` makes of each, in their order; many at once.

        Who asks for thousands keeps nobody waiting who asks for few: of each caller no more than `_QUEUED`
        are in the queue, and one alone stands in none.
        """
        given = list(items)
        if len(given) == 1:
            return [work(given[0])]
        asked: deque[Future[R]] = deque()
        done: list[R] = []
        try:
            for item in given:
                if len(asked) == _QUEUED:
                    done.append(asked.popleft().result())
                asked.append(self._threads.submit(work, item))
            while asked:
                done.append(asked.popleft().result())
        finally:  # after an error nobody wants the others
            for left in asked:
                left.cancel()
        return done

    def close(self) -> None:
        """Ends threads and connections."""
        self._threads.shutdown()
        self._client.close()

    def _until_done(
        self,
        operation: str,
        table: str,
        requests: Mapping[str, Any],
        left: str,
        answered: Callable[[Any], None] = lambda answer: None,
    ) -> None:
        """A call for many items, again for those that the service had no time for."""

        def attempt() -> Any:
            nonlocal requests
            answer = getattr(self._client, operation)(RequestItems=requests)
            answered(answer)
            requests = answer.get(left) or {}
            if requests:
                raise _Busy
            return answer

        self._patiently(attempt, operation, table)

    def _patiently(self, attempt: Callable[[], R], operation: str, table: str) -> R:
        give_up = time.monotonic() + PATIENCE
        pause = _PAUSE
        while True:
            try:
                with typed_errors():
                    return attempt()
            except _Busy:
                if time.monotonic() > give_up:
                    problem = "it is asked for too much at once — try again later"
                    raise VaultUnavailable(f"{self._where(table)}: {problem}") from None
            except AwsError as error:
                if error.kind != "unavailable" or time.monotonic() > give_up:
                    raised = error
                    break
            time.sleep(pause * random.uniform(0.5, 1))  # not all at once again
            pause = min(2 * pause, _LONGEST_PAUSE)
        self._fail(raised, operation, table)

    def _fail(self, error: AwsError, operation: str, table: str) -> NoReturn:
        if error.kind == "denied":
            wanted = error.permission or _permission(operation)
            raise VaultUnavailable(
                f"{self._where(table)}: {wanted} is not allowed — allow it, on the table and its indexes"
            ) from None
        raise VaultUnavailable(f"{self._where(table)}: {error}") from None

    def _where(self, table: str) -> str:
        return f"{self._setting}: DynamoDB table {table}"


class _Busy(Exception):
    """Not all was done, and it may be asked for again."""


def _permission(operation: str) -> str:
    if operation == "transact_write_items":  # which has none of its own
        return "dynamodb:PutItem, UpdateItem or ConditionCheckItem"
    return f"dynamodb:{''.join(map(str.title, operation.split('_')))}"


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
