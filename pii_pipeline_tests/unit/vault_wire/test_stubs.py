from pii_pipeline_tests.protos import PROJECT, WIRE, generate

SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def test_the_committed_stubs_are_what_the_protos_make(tmp_path):
    generate(tmp_path)
    made = {path.name: path.read_text() for path in (tmp_path / WIRE).iterdir()}
    protos = [path.stem for path in (PROJECT / WIRE).glob("*.proto")]
    assert sorted(made) == sorted(f"{name}{suffix}" for name in protos for suffix in SUFFIXES)
    for name, text in made.items():
        assert (PROJECT / WIRE / name).read_text() == text, f"{name} is not current: run `make protos`"
