# pyarrow is compiled and ships no types; much of it is made at import time. To the checker it is Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
