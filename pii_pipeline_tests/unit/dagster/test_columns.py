"""What the catalog says about a column of documents."""

from pathlib import Path

from pii_pipeline.assets.columns import derived_columns, pseudonymized_columns
from pii_pipeline.streams.loader import load_streams
from pii_pipeline_tests.unit.contracts.examples import changed
from pii_pipeline_tests.unit.streams.test_loader import STREAM, make

USER = "iglu:com.acme/user/jsonschema/1-*-*"


def test_a_column_of_documents_tells_what_is_done_inside(tmp_path: Path):
    inside = f"{{{USER}: {{mail: {{encrypt: {{level: 2}}}}, age: {{generalize: {{step: 10}}}}, a: drop}}}}"
    contract = changed("premium: keep", f"premium: keep\n  context: {{self_describing: {inside}}}")
    make(tmp_path, stream=STREAM, contract=contract)
    stream = load_streams([tmp_path])["shop"]
    (column,) = [column for column in pseudonymized_columns(stream).columns if column.name == "context"]
    assert column.type == "string"
    assert (column.description or "").split("; ") == [
        "context $schema: keep (allow original)",
        f"context {USER} mail: encrypt (level 2)",
        f"context {USER} age: generalize (step 10.0)",
        f"context {USER} a: drop",
        "context $unlisted: pseudonymize",
        "context $names: pseudonymize",
    ]
    (column,) = [
        column for column in derived_columns(stream, "marketing").columns if column.name == "context"
    ]
    assert f"context {USER} mail: decrypted" in (column.description or "")
