"""Texts that match a simple regular expression: literals, classes, groups, alternatives, repetitions."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from random import Random

Make = Callable[[Random], str]

_CLASSES = {"d": string.digits, "w": string.ascii_lowercase + string.digits + "_", "s": " "}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r"}
_PRINTABLE = string.ascii_lowercase + string.digits + string.ascii_uppercase + "-_.,:;/@+ "
_UP_TO = 6  # repetitions of what may be repeated without end
_REPEAT = re.compile(r"([*+?]|\{(\d+)(?:(,)(\d*))?\})\??")


class TooHardError(ValueError):
    """A pattern with something that this module does not know (look-around, back references, flags …)."""


def compile_pattern(pattern: str) -> Make:
    """A maker of texts that match `pattern` as a whole. Raises TooHardError."""
    parser = _Parser(pattern)
    make = parser.alternatives()
    if parser.at < len(pattern):
        raise TooHardError("an unmatched )")
    return make


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def alternatives(self) -> Make:
        branches = [self._sequence()]
        while self.pattern[self.at : self.at + 1] == "|":
            self.at += 1
            branches.append(self._sequence())
        return lambda random: random.choice(branches)(random)

    def _sequence(self) -> Make:
        parts: list[Make] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            part = self._atom()
            if match := _REPEAT.match(self.pattern, self.at):
                self.at = match.end()
                part = _repeated(part, *_bounds(match))
            parts.append(part)
        return lambda random: "".join(part(random) for part in parts)

    def _next(self) -> str:
        if self.at == len(self.pattern):
            raise TooHardError("it ends too early")
        self.at += 1
        return self.pattern[self.at - 1]

    def _atom(self) -> Make:
        char = self._next()
        if char in "^$":
            return lambda _: ""
        if char == "(":
            if self.pattern.startswith("?:", self.at):
                self.at += 2
            elif self.pattern.startswith("?", self.at):
                raise TooHardError("a group that begins with (?")
            inside = self.alternatives()
            if self._next() != ")":
                raise TooHardError("an unclosed (")
            return inside
        if char == "[":
            return _one_of(self._members())
        if char == ".":
            return _one_of(_PRINTABLE)
        if char == "\\":
            return _one_of(self._escape(anchors="AZzbB"))
        return lambda _: char

    def _escape(self, anchors: str = "") -> str:
        char = self._next()
        if char in anchors:
            return ""
        if char in _CLASSES or char in _CONTROLS:
            return _CLASSES.get(char) or _CONTROLS[char]
        if char in "DWS":
            return "".join(other for other in _PRINTABLE if other not in _CLASSES[char.lower()])
        if char.isalnum():
            raise TooHardError(f"\\{char}")
        return char

    def _members(self) -> str:
        """The characters of a class; what comes after the opening bracket."""
        negated = self.pattern[self.at : self.at + 1] == "^"
        self.at += negated
        members = ""
        first = True
        while (char := self._next()) != "]" or first:
            first = False
            low = self._escape() if char == "\\" else char
            ranged = (
                self.pattern[self.at : self.at + 1] == "-" and self.pattern[self.at + 1 : self.at + 2] != "]"
            )
            if ranged and len(low) == 1:
                self.at += 1
                high = self._next()
                high = self._escape() if high == "\\" else high
                # Enough of a wide range: the first characters of it.
                members += "".join(map(chr, range(ord(low), min(ord(high), ord(low) + 255) + 1)))
            else:
                members += low
        return "".join(char for char in _PRINTABLE if char not in members) if negated else members


def _bounds(match: re.Match[str]) -> tuple[int, int]:
    if match[2] is None:
        return {"?": (0, 1), "*": (0, _UP_TO), "+": (1, _UP_TO)}[match[1]]
    low = int(match[2])
    return low, int(match[4]) if match[4] else low + _UP_TO if match[3] else low


def _repeated(part: Make, low: int, high: int) -> Make:
    return lambda random: "".join(part(random) for _ in range(random.randint(low, high)))


def _one_of(characters: str) -> Make:
    return lambda random: random.choice(characters) if characters else ""
