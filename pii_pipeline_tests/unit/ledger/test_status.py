"""What `pii status` prints and `pii query` reads."""

from pii_pipeline.ledger import PSEUDONYMIZED_EVENTS, VALIDATED_EVENTS, Ledger
from pii_pipeline_tests.unit.ledger.examples import (
    HOUR,
    NEXT_HOUR,
    derive,
    file,
    landed,
    pseudonymize,
    sealed,
    validate,
)


def test_an_hour_adds_up_its_batches_layer_by_layer(ledger: Ledger) -> None:
    a, b = sealed(ledger, "a", "b")
    ledger.enter("logins", HOUR, [landed("loose", size=7)])
    for batch in (a, b):
        validate(ledger, batch)
    pseudonymize(ledger, a)
    derive(ledger, a, "product_analytics")
    [hour] = ledger.status("logins", HOUR)
    assert (hour.objects, hour.unsealed, hour.bytes, hour.batches) == (3, 1, 27, 2)
    assert set(hour.layers) == {VALIDATED_EVENTS, PSEUDONYMIZED_EVENTS, "product_analytics"}
    validated = hour.layers[VALIDATED_EVENTS]
    assert validated.counts == {
        "records": 20,
        "validated": 16,
        "bad": 2,
        "duplicate": 2,
        "bad_by_reason": {"not_json": 2},
    }
    assert (validated.committed, validated.seconds, validated.files, validated.bytes) == (2, 1.0, 4, 400)
    assert hour.layers["product_analytics"].counts == {"pseudonymized": 6, "admitted": 4, "withheld": 2}
    layers = (VALIDATED_EVENTS, PSEUDONYMIZED_EVENTS, "product_analytics", "not_yet_made")
    assert [hour.pending(layer) for layer in layers] == [0, 1, 1, 2]
    assert hour.violations() == []


def test_a_replaced_upstream_makes_what_is_below_pending_all_the_way_down(ledger: Ledger) -> None:
    [a] = sealed(ledger, "a")
    validate(ledger, a)
    pseudonymize(ledger, a)
    derive(ledger, a, "product_analytics")
    validate(ledger, a, "v2")
    [hour] = ledger.status()
    assert hour.pending(VALIDATED_EVENTS) == 0
    assert hour.pending(PSEUDONYMIZED_EVENTS) == 1
    assert hour.violations() == []
    pseudonymize(ledger, a, "p2", upstream="v2")
    [hour] = ledger.status()
    assert hour.pending(PSEUDONYMIZED_EVENTS) == 0
    assert hour.pending("product_analytics") == 1


def test_status_and_files_choose_by_stream_and_hour(ledger: Ledger) -> None:
    for stream, hour in [("webshop", HOUR), ("logins", NEXT_HOUR), ("logins", HOUR)]:
        for batch in sealed(ledger, f"{stream} {hour} a", f"{stream} {hour} b", stream=stream, hour=hour):
            validate(ledger, batch)

    def places(**chosen: str) -> list[tuple[str, str]]:
        return [(s.stream, s.hour) for s in ledger.status(**chosen)]

    assert places() == [("logins", HOUR), ("logins", NEXT_HOUR), ("webshop", HOUR)]
    assert places(stream="logins") == [("logins", HOUR), ("logins", NEXT_HOUR)]
    assert places(hour=HOUR) == [("logins", HOUR), ("webshop", HOUR)]
    assert places(stream="nobody") == []
    assert [s.layers[VALIDATED_EVENTS].files for s in ledger.status()] == [4, 4, 4]

    paths = [
        file(batch, "bad_events", "v1").path
        for hour in (HOUR, NEXT_HOUR)
        for batch in ledger.batches("logins", hour)
    ]
    assert ledger.files("logins", "bad_events") == paths
    assert ledger.files("logins", "bad_events", HOUR) == paths[:2]
    assert ledger.files("logins", "nothing") == []
    of_stream = ledger.files_of_stream("logins")
    assert set(of_stream) == {VALIDATED_EVENTS, "bad_events"}
    assert of_stream["bad_events"] == {HOUR: paths[:2], NEXT_HOUR: paths[2:]}
    assert ledger.files_of_stream("nobody") == {}


def test_contents_change_with_what_came_and_what_was_made_and_not_when_it_is_made_again(
    ledger: Ledger,
) -> None:
    def digest() -> str:
        return ledger.contents("logins", HOUR).digest

    seen = [digest()]
    [a] = sealed(ledger, "a")
    assert ledger.contents("logins", HOUR).sealed == {(a.objects[0].uri, a.objects[0].etag)}
    seen.append(digest())
    validate(ledger, a)
    seen.append(digest())
    pseudonymize(ledger, a)
    seen.append(digest())
    validate(ledger, a)
    assert digest() == seen[-1]
    validate(ledger, a, "v2")
    seen.append(digest())
    ledger.enter("logins", HOUR, [landed("loose")])
    assert len(ledger.contents("logins", HOUR).sealed) == 1
    seen.append(digest())
    assert len(set(seen)) == len(seen)
    assert ledger.contents("logins", NEXT_HOUR) == ledger.contents("nobody", HOUR)
