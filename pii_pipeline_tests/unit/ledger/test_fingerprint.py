"""The fingerprint changes with everything it stands for, and with nothing else."""

from pii_pipeline.ledger import fingerprint


def test_a_fingerprint_is_pinned_and_short() -> None:
    # Recomputed with: printf '[["e1","e2"],"c","1",1,"u"]' | sha256sum. A change here remakes every lake.
    assert fingerprint(["e1", "e2"], "c", "1", 1, "u") == "159292a0b7071593"


def test_each_part_counts_and_neighbours_are_kept_apart() -> None:
    variants = [
        fingerprint(["e1", "e2"], "c", "1", 1, "u"),
        fingerprint(["e2", "e1"], "c", "1", 1, "u"),
        fingerprint(["e1e2"], "c", "1", 1, "u"),
        fingerprint(["e1", "e2", "c"], "", "1", 1, "u"),
        fingerprint(["e1", "e2"], "c1", "", 1, "u"),
        fingerprint(["e1", "e2"], "d", "1", 1, "u"),
        fingerprint(["e1", "e2"], "c", "2", 1, "u"),
        fingerprint(["e1", "e2"], "c", "1", 2, "u"),
        fingerprint(["e1", "e2"], "c", "1", "1", "u"),
        fingerprint(["e1", "e2"], "c", "1", None, "u"),
        fingerprint(["e1", "e2"], "c", "1", 1, "v"),
        fingerprint(["e1", "e2"], "c", "1", 1, ""),
        fingerprint(["e1", "e2"], "c", "1", 1),
    ]
    assert len(set(variants)) == len(variants)
    assert fingerprint(iter(["e1", "e2"]), "c", "1", 1, "u") == variants[0]
