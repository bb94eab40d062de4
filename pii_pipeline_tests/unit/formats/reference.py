"""A plain, byte-by-byte reading of the cutting rules: what the vectorised scanners must equal."""

from __future__ import annotations

from typing import NamedTuple

WHITESPACE = b" \t\n\r"


class Cut(NamedTuple):
    """One expected record."""

    record: bytes
    offset: int
    too_large: bool


def cut(content: bytes, max_record_bytes: int) -> tuple[list[Cut], bool]:
    """The records of the decompressed `content`, and whether it is an array that is not closed."""
    at = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    while at < len(content) and content[at] in WHITESPACE:
        at += 1
    cuts: list[Cut] = []
    is_open = False
    if content[at : at + 1] == b"[":
        spans, at, is_open = _elements(content, at + 1)
        if is_open and not content[slice(*spans[-1])].strip(WHITESPACE):
            spans.pop()
        if not is_open and len(spans) == 1 and not content[slice(*spans[0])].strip(WHITESPACE):
            spans.pop()
        cuts = [_trim(content, start, end, max_record_bytes) for start, end in spans]
    while at < len(content):
        end = content.find(b"\n", at)
        end = len(content) if end < 0 else end
        if content[at:end].strip(WHITESPACE):
            cuts.append(_trim(content, at, end, max_record_bytes))
        at = end + 1
    return cuts, is_open


def _trim(content: bytes, start: int, end: int, max_record_bytes: int) -> Cut:
    while start < end and content[start] in WHITESPACE:
        start += 1
    record = content[start:end].rstrip(WHITESPACE)
    return Cut(record[:max_record_bytes], start, len(record) > max_record_bytes)


def _elements(content: bytes, begin: int) -> tuple[list[tuple[int, int]], int, bool]:
    """Spans of the elements, where reading goes on, and whether the array is still open at the end."""
    spans = []
    start, depth, in_string, backslashes = begin, 1, False, 0
    for at in range(begin, len(content)):
        byte = content[at : at + 1]
        if byte == b"\\":
            backslashes += 1
            continue
        escaped, backslashes = backslashes % 2 == 1, 0
        if byte == b'"' and not escaped:
            in_string = not in_string
        elif in_string:
            continue
        elif byte in (b"[", b"{"):
            depth += 1
        elif byte == b"]" and depth == 1:
            return [*spans, (start, at)], at + 1, False
        elif byte in (b"]", b"}"):
            depth = max(1, depth - 1)
        elif byte == b"," and depth == 1:
            spans.append((start, at))
            start = at + 1
    return [*spans, (start, len(content))], len(content), True


def cut_delimited(content: bytes, delimiter: bytes, quoted: bool, max_record_bytes: int) -> list[Cut]:
    """The records of the decompressed `content` of delimited text, header included."""
    at = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    cuts: list[Cut] = []
    while at < len(content):
        end = _line_end(content, at, delimiter, quoted)
        record = content[at:end].removesuffix(b"\r")
        if record:
            cuts.append(Cut(record[:max_record_bytes], at, len(record) > max_record_bytes))
        at = end + 1
    return cuts


def _line_end(content: bytes, at: int, delimiter: bytes, quoted: bool) -> int:
    state = "field begins"
    while at < len(content):
        byte = content[at : at + 1]
        if state == "in quotes":
            if byte == b'"' and content[at + 1 : at + 2] == b'"':
                at += 1
            elif byte == b'"':
                state = "in field"
        elif byte == b"\n":
            break
        elif byte == delimiter:
            state = "field begins"
        elif byte == b'"' and quoted and state == "field begins":
            state = "in quotes"
        else:
            state = "in field"
        at += 1
    return at


def split(record: bytes, delimiter: bytes, quoted: bool) -> tuple[list[bytes], str | None]:
    """The fields of one record of delimited text, and what is wrong with its quotes."""
    fields = [b""]
    state = "field begins"
    at = 0
    while at < len(record):
        byte = record[at : at + 1]
        if state == "in quotes":
            if byte != b'"':
                fields[-1] += byte
            elif record[at + 1 : at + 2] == b'"':
                fields[-1] += b'"'
                at += 1
            else:
                state = "behind quotes"
        elif byte == delimiter:
            fields.append(b"")
            state = "field begins"
        elif state == "behind quotes":
            return [], "text behind a closing quote"
        elif byte == b'"' and quoted and state == "field begins":
            state = "in quotes"
        elif byte == b'"' and quoted:
            return [], "a quote inside a field without quotes"
        else:
            fields[-1] += byte
            state = "in field"
        at += 1
    return fields, "a quoted field is not closed" if state == "in quotes" else None
