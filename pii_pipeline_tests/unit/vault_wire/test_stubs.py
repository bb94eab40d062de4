from pii_pipeline_tests.protos import PROJECT, generate, stubs


def test_the_committed_stubs_are_what_the_protos_make(tmp_path):
    generate(tmp_path)
    made = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*.py*")}
    wanted = [f"{proto.with_suffix('')}{ending}" for proto, endings in stubs().items() for ending in endings]
    assert sorted(made) == sorted(wanted)
    for name, text in made.items():
        assert (PROJECT / name).read_text() == text, f"{name} is not current: run `make protos`"
    committed = {path.name for path in PROJECT.glob("pii_pipeline/**/*_pb2*")}
    assert committed == {path.rpartition("/")[2] for path in made}
