"""docs/treatments.md shows what the kernels really make of a value."""

from pii_pipeline.contracts.treatments import TREATMENTS
from pii_pipeline_tests.documentation.examples import Example, filled, lake_value
from pii_pipeline_tests.documentation.markdown import DOCS, anchors, read

PAGE = DOCS / "treatments.md"


def test_the_examples_are_what_would_be_made():
    assert filled(read(PAGE)) == read(PAGE), "a treatment changed: run `make docs`"


def test_every_treatment_has_a_section_with_examples():
    assert set(TREATMENTS) <= anchors(read(PAGE))
    assert [
        name for name in TREATMENTS if f"\n| `{name}` |" not in read(PAGE) and f"{{{name}: " not in read(PAGE)
    ] == []


def test_examples_are_made_by_the_kernels():
    # What is certain of old: GitLab's published vector.
    (vector, _) = lake_value(Example("{pseudonymize: {domain: none}}", '"hello world"'))
    assert vector == '"c8aa85c632a6…"'
    sealed, opened = lake_value(Example("{encrypt: {level: 2}}", '{"a": [1.5, 2.5]}'))
    assert sealed.startswith('"A')
    assert opened == '{"a": [1.5, 2.5]}'
    assert lake_value(Example("{mask: {keep_last: 2}}", '"123456"'))[0] == '"****56"'


def test_a_wrong_example_is_put_right():
    page = '| contract | event | in the lake |\n| --- | --- | --- |\n| `mask` | `"abc"` | `"abc"` |\n'
    assert filled(page).endswith('| `mask` | `"abc"` | `"***"` |\n')
