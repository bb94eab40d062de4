"""What of DynamoDB the vault and a bare loop ask for, kept in memory: a stand-in for ``benchmarks.vault``."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict
from typing import Any

from benchmarks.measuring import Answering


def dynamodb(latency: float) -> type[Answering]:
    """What of DynamoDB the vault and the bare loop ask for."""
    tables: dict[str, Table] = {}
    lock = threading.Lock()

    class DynamoDb(Answering):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(latency)
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            try:
                with lock:
                    told, status = getattr(self, operation)(asked), 200
            except Refused as refused:
                told, status = {"__type": f"com.amazonaws.dynamodb.v20120810#{refused}", **refused.more}, 400
            self.answer(json.dumps(told), "application/x-amz-json-1.0", status)

        def CreateTable(self, asked: Any) -> Any:
            tables[asked["TableName"]] = Table(asked)
            return {"TableDescription": {**asked, "TableStatus": "ACTIVE"}}

        def DescribeTable(self, asked: Any) -> Any:
            if asked["TableName"] not in tables:
                raise Refused("ResourceNotFoundException")
            return {"Table": {**tables[asked["TableName"]].definition, "TableStatus": "ACTIVE"}}

        def UpdateTimeToLive(self, asked: Any) -> Any:
            return {}

        def PutItem(self, asked: Any) -> Any:
            table = tables[asked["TableName"]]
            if not table.allows(asked, asked["Item"]):
                raise Refused("ConditionalCheckFailedException", Item=table.find(asked["Item"]))
            table.put(asked["Item"])
            return {}

        def GetItem(self, asked: Any) -> Any:
            found = tables[asked["TableName"]].find(asked["Key"])
            return {"Item": found} if found else {}

        def Query(self, asked: Any) -> Any:
            found = tables[asked["TableName"]].query(asked)
            return {"Items": found, "Count": len(found)}

        def TransactWriteItems(self, asked: Any) -> Any:
            writes = [next(iter(write.items())) for write in asked["TransactItems"]]
            allowed = [
                tables[write["TableName"]].allows(write, write["Item"] if kind == "Put" else write["Key"])
                for kind, write in writes
            ]
            if not all(allowed):
                reasons = [{"Code": "None" if one else "ConditionalCheckFailed"} for one in allowed]
                raise Refused("TransactionCanceledException", CancellationReasons=reasons)
            for kind, write in writes:
                table = tables[write["TableName"]]
                if kind == "Put":
                    table.put(write["Item"])
                elif kind == "Update":
                    table.add(write)
            return {}

    return DynamoDb


class Refused(Exception):
    """An error of DynamoDB's, with what is told besides its code."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.more = more


class Table:
    """Items by partition and sort key."""

    def __init__(self, definition: Any) -> None:
        self.definition = definition
        self._names: list[str] = [part["AttributeName"] for part in definition["KeySchema"]]
        self._items: defaultdict[str, dict[Any, Any]] = defaultdict(dict)

    def find(self, of: Any) -> Any:
        partition, sort = self._place(of)
        return self._items[partition].get(sort) if partition in self._items else None

    def put(self, item: Any) -> None:
        partition, sort = self._place(item)
        self._items[partition][sort] = item

    def query(self, asked: Any) -> list[Any]:
        first, *others = (_plain(value) for value in asked["ExpressionAttributeValues"].values())
        there = self._items.get(first, {})
        if others:  # between two numbers
            found = [there[number] for number in range(others[0], min(others[1], max(there)) + 1)]
        elif asked.get("ScanIndexForward") is False:
            found = [there[next(reversed(there))]] if there else []  # what came last is the highest
        else:
            found = list(there.values())
        return found

    def allows(self, asked: Any, of: Any) -> bool:
        """Whether one of the conditions holds that the vault has."""
        item = self.find(of) or {}
        named, values = asked.get("ExpressionAttributeNames"), asked.get("ExpressionAttributeValues")
        for condition in asked.get("ConditionExpression", "").split(" OR "):
            name = (found := re.search(r"#\w+", condition)) and named[found[0]]
            if name is None or (name in item) == condition.startswith("attribute_exists"):
                return True
            if "<=" in condition and name in item:
                return _plain(item[name]) <= _plain(values[condition.rpartition(" ")[2]])
        return False

    def add(self, asked: Any) -> None:
        """What was spent of a limit."""
        there = self.find(asked["Key"]) or {**asked["Key"], "spent": {"N": "0"}}
        more = int(asked["ExpressionAttributeValues"][":amount"]["N"])
        self.put({**there, "spent": {"N": str(int(there["spent"]["N"]) + more)}})

    def _place(self, of: Any) -> tuple[Any, Any]:
        partition, *sort = (_plain(of[name]) for name in self._names)
        return partition, sort[0] if sort else None


def _plain(value: Any) -> Any:
    ((kind, content),) = value.items()
    return int(content) if kind == "N" else content
