"""Text in any encoding to UTF-8, block by block."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

_ESCAPE = "pii_pipeline.formats.escape"


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Bytes that cannot be decoded as halves of surrogate pairs: these are in no valid text."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_ESCAPE, _escape)


def unknown_encoding(name: str) -> bool:
    """Whether `name` is no encoding of text that Python can decode block by block."""
    try:
        line = "a\n".encode(name)  # refuses codecs of other things than text
        return codecs.getincrementaldecoder(name)(_ESCAPE).decode(line, True) != "a\n"
    except (LookupError, ValueError):
        return True


def as_utf8(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """`blocks` of text in `encoding` as UTF-8; none of them empty.

    What cannot be decoded comes out as bytes that are not UTF-8, so that it is the record with it that is
    bad. UTF-8 itself is left as it is.
    """
    if codecs.lookup(encoding).name == "utf-8":
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(encoding)(_ESCAPE)
    for block in blocks:
        if text := decoder.decode(block):
            yield text.encode("utf-8", "surrogatepass")
    if text := decoder.decode(b"", True):
        yield text.encode("utf-8", "surrogatepass")
