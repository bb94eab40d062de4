"""JSONPath as our paths: what can be said, and what it is about the rest."""

import re

import pytest

from pii_pipeline.contracts.importers.json_path import paths


@pytest.mark.parametrize(
    ("json_path", "expected"),
    [
        ("$.email", ["email"]),
        ("$.a.b", ["a/b"]),
        ("$['a']", ["a"]),
        ('$["a"].b', ["a/b"]),
        ("$.['a']['b']", ["a/b"]),
        ("$.['clientId', 'userId']", ["clientId", "userId"]),
        ("$.data.['email', 'ip_opt']", ["data/email", "data/ip_opt"]),
        ("$['a','b'].c", ["a/c", "b/c"]),
        ("$.a[*]", ["a[]"]),
        ("$.a[*].b", ["a[]/b"]),
        ("$.a.[*].b", ["a[]/b"]),
        ("$.a[*][*].b", ["a[][]/b"]),
        ("$[*].a", ["[]/a"]),
        ("$['a/b']['c~d']", ["a~1b/c~0d"]),
        (r"$['it\'s']", ["it's"]),
        ("$.größe-1", ["größe-1"]),
    ],
)
def test_paths(json_path, expected):
    assert paths(json_path) == expected


@pytest.mark.parametrize(
    ("json_path", "what"),
    [
        ("$..email", "a search at any depth (`..`)"),
        ("$.a..b", "a search at any depth (`..`)"),
        ("$.*", "all names (`.*`)"),
        ("$.a[0]", "single elements of a list"),
        ("$.a[-1:]", "single elements of a list, or a part of it"),
        ("$.a[1,2]", "single elements"),
        ("$.a[?(@.b == 'x')]", "a filter"),
        ("$.a[(@.length-1)]", "an expression"),
        ("$.a.length()", "`.length()`"),
        ("$.", "`.`"),
        ("$", "the whole of the data (`$`)"),
        ("email", "it does not start with `$`"),
    ],
)
def test_no_path(json_path, what):
    with pytest.raises(ValueError, match=re.escape(what)):
        paths(json_path)
