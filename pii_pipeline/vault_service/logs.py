"""The service's log on standard error: our own words, and of what libraries say no more than the type."""

from __future__ import annotations

import logging

_OURS = __name__.partition(".")[0]


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = self.formatTime(record)
        if record.name.partition(".")[0] == _OURS:
            return f"{when} {record.levelname} {record.getMessage()}"
        kind = record.exc_info[0] if record.exc_info else None
        what = f"unexpected {kind.__name__}" if kind else "a message that may hold data and is not shown"
        return f"{when} {record.levelname} {record.name}:{record.lineno} {what}"


def log_to_stderr() -> None:
    """From now on, for all of the process: ours from INFO on, others' from WARNING on."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(_OURS).setLevel(logging.INFO)
