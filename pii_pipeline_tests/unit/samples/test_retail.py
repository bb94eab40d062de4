"""Order lines: what they promise to contain is in them, read by Python's csv module; and the real ones."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest

from pii_pipeline.formats.kinds import DelimitedText
from pii_pipeline.samples.generate import expected_counts, generate
from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.retail_bad import COLUMNS, KINDS
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.unit.samples.reference import Reference, contract_of, csv_fields, csv_records

END = datetime(2026, 7, 22, 10, 55, 30, tzinfo=UTC)
LINES = 24_000  # two slices
CONTRACT = contract_of("retail")
CSV = DelimitedText(",", quoted=True)
REFERENCE = Reference(CONTRACT, END)


class Sample:
    """A sample, judged line by line; `good` are those that lack nothing but perhaps a customer."""

    def __init__(self, lines: int = LINES, format: DelimitedText = CSV) -> None:
        self.planted = Planted()
        self.blocks = list(generate(CONTRACT, lines, 7, END, self.planted, format=format))
        header, *self.records = csv_records(b"".join(self.blocks), format.delimiter, format.encoding)
        self.columns = csv_fields(header, format.delimiter)
        self.failures: Counter[str] = Counter()
        self.good: list[dict[str, str]] = []
        for record in self.records:
            fields = csv_fields(record, format.delimiter)
            verdict = REFERENCE.judge_fields(record, list(COLUMNS), fields)
            self.failures.update([verdict] if verdict else [])
            if fields and verdict in (None, "empty_key") and len(fields) == len(COLUMNS):
                self.good.append(dict(zip(COLUMNS, fields, strict=True)))


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample()


def test_every_line_is_there_and_the_bad_ones_fail_as_planted(sample: Sample) -> None:
    assert sample.columns == list(COLUMNS) == list(CONTRACT.json_schema["properties"])
    assert len(sample.records) == sample.planted.records == LINES
    assert sample.failures == sample.planted.failure_types
    assert set(sample.planted.bad) == {kind.name for kind in KINDS} | {"no_customer", "oversized"}
    broken = sample.planted.bad.total() - sample.planted.bad["no_customer"]
    assert 0.005 < broken / LINES < 0.01
    assert sample.planted.duplicates == 0


def test_the_same_arguments_give_the_same_bytes_and_others_other_invoices(sample: Sample) -> None:
    assert list(generate(CONTRACT, LINES, 7, END, format=CSV)) == sample.blocks
    for seed, end in ((8, END), (7, END + timedelta(hours=1))):
        assert b"".join(generate(CONTRACT, 900, seed, end, format=CSV)) != b"".join(sample.blocks)[:900]


def test_invoices_are_whole_and_come_in_the_order_of_time(sample: Sample) -> None:
    invoices = [list(lines) for _, lines in groupby(sample.good, lambda line: line["InvoiceNo"])]
    numbers = [lines[0]["InvoiceNo"] for lines in invoices]
    assert len(set(numbers)) == len(numbers)
    for same in ("CustomerID", "InvoiceDate", "Country"):
        assert all(len({line[same] for line in lines}) == 1 for lines in invoices), same
    sizes = Counter(len(lines) for lines in invoices)
    assert min(sizes) == 1 and max(sizes) == 40 and 8 < len(sample.good) / len(invoices) < 14
    cancelled = [lines for lines in invoices if lines[0]["InvoiceNo"].startswith("C")]
    assert 0.05 < len(cancelled) / len(invoices) < 0.15
    for lines in invoices:
        back = lines[0]["InvoiceNo"].startswith("C")
        assert all((int(line["Quantity"]) < 0) == back for line in lines)
    times = [REFERENCE.moment(line["InvoiceDate"]) for line in sample.good]
    known = [time for time in times if time]
    assert len(known) == len(times) and known == sorted(known)
    assert END - timedelta(hours=1) <= known[0] and known[-1] < END


def test_dates_are_those_of_the_clock_in_the_shop(sample: Sample) -> None:
    assert {line["InvoiceDate"][:13] for line in sample.good} == {"2026-07-22 10", "2026-07-22 11"}


def test_it_looks_like_a_real_export(sample: Sample) -> None:
    lines = sample.good
    assert 0.28 < sum(not line["CustomerID"] for line in lines) / len(lines) < 0.4
    undescribed = [line for line in lines if not line["Description"]]
    assert 0 < len(undescribed) < 0.01 * len(lines) and not any(line["CustomerID"] for line in undescribed)
    texts = [line["Description"] for line in lines]
    for what in (",", '"', "\n", "£"):
        assert 0 < sum(what in text for text in texts) < 0.1 * len(texts), what
    assert any(text.endswith(" ") for text in texts)
    assert 300 < len({line["CustomerID"] for line in lines}) < 4_400
    assert len({line["Country"] for line in lines}) > 8
    assert any(line["UnitPrice"] == "0.0" for line in lines)
    assert all(float(line["UnitPrice"]) >= 0 for line in lines)


@pytest.mark.parametrize(
    ("delimiter", "encoding"),
    [(";", "windows-1252"), ("\t", "utf-16"), (" ", "utf-8"), ("-", "ascii"), (":", "utf-8")],
)
def test_the_stream_says_how_its_files_are_written(delimiter: str, encoding: str) -> None:
    sample = Sample(3_000, DelimitedText(delimiter, quoted=True, encoding=encoding))
    assert len(sample.records) == sample.planted.records == 3_000
    assert sample.failures == sample.planted.failure_types
    assert ("not_utf8" in sample.failures) == (encoding == "utf-8")
    assert any("£" in line["Description"] for line in sample.good) == (encoding != "ascii")


def test_small_samples() -> None:
    def counts(lines: int) -> Planted:
        return expected_counts(CONTRACT, lines, 1, END, format=CSV)

    assert counts(999).bad["oversized"] == 0 and counts(1_000).bad["oversized"] == 1
    assert counts(1).records == 1
    assert list(generate(CONTRACT, 0, 1, END, format=CSV)) == [",".join(COLUMNS).encode() + b"\n"]


def test_the_real_lines_lack_nothing_but_customers() -> None:
    header, *records = csv_records((shared_data() / "strm/online_retail.csv").read_bytes())
    columns = csv_fields(header) or []
    assert columns == list(COLUMNS)
    verdicts = Counter(REFERENCE.judge_fields(record, columns, csv_fields(record)) for record in records)
    assert verdicts == {None: 13_346, "empty_key": 6_652}
