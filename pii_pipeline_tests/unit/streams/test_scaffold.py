"""The template of `pii init`."""

import pytest

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.streams.loader import load_streams
from pii_pipeline.streams.scaffold import FORMATS, SNOWPLOW, new_stream


@pytest.mark.parametrize("format", FORMATS)
def test_the_template_loads_as_it_is(tmp_path, format):
    files = new_stream(tmp_path / "streams", "my_clicks2", format)
    schema = "atomic.schema.json" if format == SNOWPLOW else "event.schema.json"
    assert [file.name for file in files] == ["stream.yaml", "contract.yaml", schema]
    assert all(file.is_file() for file in files)
    stream = load_streams([tmp_path / "streams"])["my_clicks2"]
    assert stream.format.name == format
    assert stream.contract.contract == "acme/my-clicks2/1.0.0"
    assert list(stream.derived) == ([] if format == SNOWPLOW else ["marketing"])
    assert stream.warnings == ()


def test_nothing_is_overwritten(tmp_path):
    (file, *_) = new_stream(tmp_path, "clicks")
    file.write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already — choose another name"):
        new_stream(tmp_path, "clicks")
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", ["Clicks", "../clicks", "", "raw_events"])
def test_a_name_that_no_stream_may_have(tmp_path, name):
    with pytest.raises(ConfigurationError, match="choose another name"):
        new_stream(tmp_path, name)
    assert list(tmp_path.iterdir()) == []
