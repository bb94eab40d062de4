"""Two versions of the small contract, compared."""

from pii_pipeline.contracts.compare import compare
from pii_pipeline.contracts.loader import load_contract
from pii_pipeline.privacy.plan import compile_plan
from pii_pipeline_tests.unit.contracts.examples import CONTRACT, SCHEMA, write


def load(folder, contract=CONTRACT, schema: object = SCHEMA):
    return load_contract(write(folder, contract, schema)).contract


def diff(old, new):
    return compare(old, new, compile_plan(old).lake_schema(), compile_plan(new).lake_schema())


def changes(
    folder, contract=CONTRACT, schema: object = SCHEMA, old_contract=CONTRACT, old_schema: object = SCHEMA
):
    comparison = diff(load(folder / "old", old_contract, old_schema), load(folder / "new", contract, schema))
    return comparison, [
        (
            change.place,
            change.before,
            change.after,
            change.protection,
            "".join(
                letter
                for letter, said in (
                    ("o", change.refuses_old),
                    ("n", change.refuses_new),
                    ("r", change.breaks_readers),
                )
                if said
            ),
        )
        for change in comparison.changes
    ]
