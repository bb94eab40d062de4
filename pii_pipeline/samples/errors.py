"""What keeps a sample from being made."""

from __future__ import annotations


class UnsatisfiableError(ValueError):
    """No valid value could be made for a field; says which field and which of its demands, and the mend."""

    def __init__(
        self, path: str, demand: str, mend: str = "give its schema `enum`, `const` or `examples`"
    ) -> None:
        where = f"field `{path}`" if path else "the record"
        super().__init__(f"{where}: no sample value for {demand}; {mend}")
