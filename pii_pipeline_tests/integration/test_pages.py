"""The pages of docs/ that are followed to the letter, each in a copy of the project."""

from pathlib import Path

import pytest

from pii_pipeline_tests.documentation.markdown import DOCS, read
from pii_pipeline_tests.documentation.pages import FOLLOWED, Comparison, Shown, follow, renewed
from pii_pipeline_tests.documentation.project import project


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_page_shows_what_comes(name: str, tmp_path: Path):
    with project(tmp_path / "project") as copy:
        for command in FOLLOWED[name]:
            _, code = copy.run(command)
            assert code == 0, command
        comparison = Comparison()
        for shown in follow(read(DOCS / name), copy):
            assert comparison.same(shown), (
                f"docs/{name} shows something else than what comes; if that is right, run "
                f"`make docs ARGS={name}`\n{shown.command}\n\n{shown.shown}\n{shown.printed}"
            )


def same(*pairs: tuple[str, str]) -> bool:
    comparison = Comparison()
    return all(comparison.same(Shown("", shown, printed, 0, 0)) for shown, printed in pairs)


def test_what_differs_is_seen():
    assert same(("1 row\n", "1 row\n"))
    assert not same(("1 row\n", "2 rows\n"))
    assert not same(("1 row\n", "1 row\nand more\n"))
    assert not same(("│ a │ 1 │\n", "│ a │ 2 │\n"))


def test_what_may_differ_is_not():
    assert same(("…/streams/x: 0.3 s,  12 records/s\n", "/a/b/streams/x: 1.7 s, 2,345 records/s\n"))
    assert same(("first\n…\nlast\n", "first\n1\n2\nlast\n"), ("…\n", ""))
    assert not same(("first\n…\nlast\n", "first\n1\n2\n"))


def test_keyed_values_may_differ_but_not_in_which_are_equal():
    a, b, c, d = ("0a1b2c3d4e5f", "112233445566", "AQ0+rrnUwOEGgo9w", "AWz0HZ7wLLghx6Md")
    assert same((f"{a} {c} {a}\n", f"{b} {d} {b}\n"), (f"{a}…\n", f"{b}…\n"))
    assert not same((f"{a} {a}\n", f"{a} {b}\n"))
    assert not same((f"{a} {b}\n", f"{a} {a}\n"))
    assert not same((f"{c}\n", f"{c}\n"), (f"{c}\n", f"{d}\n"))
    assert not same((f"{a}\n", "anna@example.com\n"))


def test_what_is_made_again_is_of_one_run():
    a, b, c = ("0a1b2c3d4e5f", "112233445566", "99887766aabb")
    page = f"{a}\n{b}\n1 row\n"
    first, second = Shown("", f"{a}\n", f"{c}\n", 0, 13), Shown("", f"{b}\n", f"{c}\n", 13, 26)
    last = Shown("", "1 row\n", "2 rows\n", 26, 32)
    assert renewed(page, [first, second, last]) == f"{c}\n{c}\n2 rows\n"
    assert renewed(page, [first, last]) == f"{a}\n{b}\n2 rows\n"
    assert renewed(page, [first]) == page


def test_a_wrong_exit_code_is_seen(tmp_path: Path):
    with project(tmp_path / "project") as copy:
        assert [item.printed for item in follow("```console\n$ cd docs\n$ pwd\nx\n```\n", copy)] == [
            "…/docs\n"
        ]
        with pytest.raises(AssertionError, match="exit code 3"):
            list(follow("```console\n$ (exit 3)\n```\n", copy))
        with pytest.raises(AssertionError, match="exit code 0"):
            list(follow("```console fails\n$ true\n```\n", copy))
        with pytest.raises(AssertionError, match="exit code 1"):
            list(follow("```python\nraise SystemExit(1)\n```\n", copy))
