"""``make protos``: stubs beside each proto of the product's."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

PROJECT = Path(__file__).resolve().parents[1]
MESSAGES = ("_pb2.py", "_pb2.pyi")
CALLS = ("_pb2_grpc.py", "_pb2_grpc.pyi")


def stubs() -> dict[Path, tuple[str, ...]]:
    """What is made of each proto, by its path in the project: endings of names beside it."""
    protos = sorted(PROJECT.glob("pii_pipeline/**/*.proto"))
    return {
        path.relative_to(PROJECT): MESSAGES + (CALLS if "\nservice " in path.read_text() else ())
        for path in protos
    }


def generate(out: Path) -> None:
    """Writes the stubs, with their types, below `out`. Raises `RuntimeError` if protoc refuses a proto."""
    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    for proto, endings in stubs().items():
        kinds = ["python_out=", "pyi_out="]
        if CALLS[0] in endings:
            kinds += ["grpc_python_out=", "mypy_grpc_out=quiet:"]
        arguments = [f"-I{PROJECT}", f"--plugin={plugin}", *(f"--{kind}{out}" for kind in kinds)]
        if protoc.main(["protoc", *arguments, str(proto)]) != 0:
            raise RuntimeError("protoc failed; what it does not like is on standard error")


if __name__ == "__main__":
    generate(PROJECT)
