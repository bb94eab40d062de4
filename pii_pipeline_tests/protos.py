"""``make protos``: the stubs of ``pii_pipeline/vault_wire`` from its protos."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

PROJECT = Path(__file__).resolve().parents[1]
WIRE = Path("pii_pipeline") / "vault_wire"


def generate(out: Path) -> None:
    """Writes the stubs, with their types, below `out`. Raises `RuntimeError` if protoc refuses a proto."""
    protos = sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / WIRE).glob("*.proto"))
    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    kinds = ("python_out=", "pyi_out=", "grpc_python_out=", "mypy_grpc_out=quiet:")
    arguments = [f"-I{PROJECT}", f"--plugin={plugin}", *(f"--{kind}{out}" for kind in kinds), *protos]
    if protoc.main(["protoc", *arguments]) != 0:
        raise RuntimeError("protoc failed; what it does not like is on standard error")


if __name__ == "__main__":
    generate(PROJECT)
