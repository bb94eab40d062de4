"""What a warehouse refuses with. Messages name the setting, tables, columns and limits, never a value."""

from __future__ import annotations

SETTING = "PII_WAREHOUSE_URL"


class WarehouseError(Exception):
    """The warehouse cannot do what it was asked for."""


class WarehouseUnavailable(WarehouseError):
    """The warehouse is not there, or not free, at the moment."""


class NotOurs(WarehouseError):
    """A table of that name is there already and was made, or changed, by others: it is left alone."""


class DoesNotFit(WarehouseError):
    """A value does not fit its column; nothing of the batch was loaded."""


class RowsLost(WarehouseError):
    """The table did not take as many rows as it was given; nothing of the batch was loaded."""
