"""JSONPath (as Snowplow's configurations write it) as paths of ours."""

from __future__ import annotations

import re

from pii_pipeline.contracts.record_type import escape

_TEXT = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_STEP = re.compile(
    r"\.?\[\s*(?P<each>\*)\s*\]"
    rf"|\.?\[\s*(?P<names>{_TEXT}(?:\s*,\s*{_TEXT})*)\s*\]"
    r"|\.(?P<name>[^\s.,*?@()\[\]'\"]++)(?!\()"
)
_CANNOT = (
    ("..", "a search at any depth (`..`)"),
    (".*", "all names (`.*`)"),
    ("[?", "a filter (`[?…]`)"),
    ("[(", "an expression (`[(…)]`)"),
    ("[", "single elements of a list, or a part of it"),
)


def paths(json_path: str) -> list[str]:
    """The paths that `json_path` names: ``$.a['b', 'c'][*].d`` is ``a/b[]/d`` and ``a/c[]/d``.

    Raises ValueError if it names places that no path of ours does, with what it is about it.
    """
    if not json_path.startswith("$"):
        raise ValueError("it does not start with `$`")
    found, at = [""], 1
    while at < len(json_path):
        match = _STEP.match(json_path, at)
        if match is None:
            rest = json_path[at:]
            raise ValueError(next((what for start, what in _CANNOT if rest.startswith(start)), f"`{rest}`"))
        if match["each"]:
            found = [f"{path}[]" for path in found]
        else:
            names = [match["name"]] if match["name"] else _texts(match["names"])
            found = [f"{path}/{escape(name)}" if path else escape(name) for path in found for name in names]
        at = match.end()
    if found == [""]:
        raise ValueError("the whole of the data (`$`)")
    return found


def _texts(quoted: str) -> list[str]:
    return [re.sub(r"\\(.)", r"\1", text[1:-1]) for text in re.findall(_TEXT, quoted)]
