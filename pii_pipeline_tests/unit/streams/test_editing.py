"""Words of a YAML file changed by program; comments, order and layout stay."""

import pytest
import yaml

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.streams.editing import with_element, with_values

CONTRACT = """\
# Größe: an umlaut before what is edited
contract: acme/shop/1.0.0   # the version
state:   "active"           # the state
schema: event.schema.json
fields:
  state: keep
"""


def file(folder, text):
    path = folder / "file.yaml"
    path.write_bytes(text.encode())
    return path


def test_only_the_words_at_these_keys(tmp_path):
    edited = with_values(file(tmp_path, CONTRACT), {"state": "archived", "contract": "acme/shop/1.0.1"})
    expected = CONTRACT.replace('"active"', "archived").replace("1.0.0", "1.0.1")
    assert edited == expected


def test_line_ends_and_flow_style_stay(tmp_path):
    windows = CONTRACT.replace("\n", "\r\n")
    assert with_values(file(tmp_path, windows), {"state": "draft"}) == windows.replace('"active"', "draft")
    flow = "{contract: a/b/1.0.0, state: active, schema: s.json}"
    assert with_values(file(tmp_path, flow), {"state": "draft"}) == flow.replace("active", "draft")


@pytest.mark.parametrize("text", ["contract: a/b/1.0.0\n", "state: [active]\n", "- state\n"])
def test_what_has_no_word_there_is_refused(tmp_path, text):
    with pytest.raises(ConfigurationError, match="state: there is no word to be replaced — edit it by hand"):
        with_values(file(tmp_path, text), {"state": "draft"})


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        (
            "contracts: [a.yaml]  # all\nformat: json\n",
            "contracts: [a.yaml, new.yaml]  # all\nformat: json\n",
        ),
        ("contracts: [\n  a.yaml,\n  b.yaml,\n]\n", "contracts: [\n  a.yaml,\n  b.yaml, new.yaml,\n]\n"),
        (
            "contracts:\n  - a.yaml\n  - b.yaml  # the last\nformat: json\n",
            "contracts:\n  - a.yaml\n  - b.yaml  # the last\n  - new.yaml\nformat: json\n",
        ),
        ("contracts:\n- a.yaml", "contracts:\n- a.yaml\n- new.yaml"),
        ("format: json\n", "format: json\ncontracts: [contract.yaml, new.yaml]\n"),
        ("format: json", "format: json\ncontracts: [contract.yaml, new.yaml]\n"),
    ],
)
def test_one_more_element(tmp_path, text, edited):
    found = with_element(file(tmp_path, text), "contracts", "new.yaml", "contract.yaml")
    assert found == edited
    assert yaml.safe_load(found)["contracts"][-1] == "new.yaml"


def test_what_is_no_list_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"file\.yaml:2: contracts: not a list — edit"):
        with_element(file(tmp_path, "format: json\ncontracts: a.yaml\n"), "contracts", "b.yaml", "")
