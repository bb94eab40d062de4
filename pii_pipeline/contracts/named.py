"""Models of which a file names one, bare (``keep``) or with settings (``{encrypt: {level: 2}}``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Self

from pydantic import BaseModel


class Named(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Base of such a family's base, which lists its members by name in `choices`. What stands below a setting
    is its meaning, for the reader there and in docs/contract-reference.md."""

    name: str
    choices: ClassVar[Mapping[str, type[Named]]]

    @classmethod
    def with_settings(cls, settings: Any) -> Self:
        """The model with what stands below its name in the file, {} if nothing does."""
        return cls.model_validate(settings)


def chosen_from(family: type[Named], what: str, examples: tuple[str, str]) -> Callable[[Any], Any]:
    """A validator that reads a member of `family` as it stands in a file; errors call it `what`."""

    def read(value: Any) -> Any:
        if isinstance(value, family):
            return value
        if isinstance(value, str):
            name, settings = value, {}
        elif isinstance(value, dict) and len(value) == 1:
            name, settings = next(iter(value.items()))
        else:
            bare, full = examples
            raise ValueError(f"not a {what}; write one word ({bare}) or one word with settings ({full})")
        model = family.choices.get(name)
        if model is None:
            near = get_close_matches(name, family.choices, n=1) if isinstance(name, str) else []
            mend = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(family.choices)}"
            raise ValueError(f"unknown {what} `{name}`; {mend}")
        return model.with_settings({} if settings is None else settings)

    return read
