"""docs/contract-reference.md is what the models say, and they say something about every key."""

import pytest
from pydantic import BaseModel

from pii_pipeline_tests.documentation.markdown import DOCS, read
from pii_pipeline_tests.documentation.reference import keys, models, reference

MODELS = list(dict.fromkeys(models()))


def test_the_page_is_what_would_be_made():
    assert read(DOCS / "contract-reference.md") == reference(), "the models changed: run `make docs`"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_has_a_meaning(model: type[BaseModel]):
    dumb = [key for key, field in keys(model).items() if not field.description]
    assert dumb == [], f'write a docstring (""" … """) below them in {model.__module__}'
    assert model.__doc__


def test_the_page_tells_all_keys_and_no_others():
    page = reference()
    for key in ("schema", "time_zone", "encrypt", "ipv4_prefix", "purposes", "delimiter", "not_empty"):
        assert f"`{key}`" in page
    for filled_in in ("json_schema", "digest", "folder", "warnings"):
        assert f"`{filled_in}`" not in page
    assert "| `max_age` | duration | `7d` |" in page
    assert "| `level` | whole number, 0 to 1,000,000 | required |" in page
    assert "| `consent` | [`derived.NAME.consent`](#derivednameconsent) | required |" in page
