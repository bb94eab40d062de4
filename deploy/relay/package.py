"""Makes the relay's function: a zip with its code, what that imports of the product, and its libraries.

    python deploy/relay/package.py ZIP [CA]

CA is a PEM file of who signs the certificate of the vault's service: the function finds it at
/var/task/ca.pem. The same code, lock and CA make the same zip.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")
HANDLER = "pii_pipeline.relay.handler"
PLATFORM = ("--python-version", "3.13", "--python-platform", "x86_64-manylinux_2_28")

_NEVER = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip can say: its files have no times."""


def main(target: Path, authority: Path | None) -> None:
    """Writes the zip and says how large it is."""
    with tempfile.TemporaryDirectory() as folder:
        libraries = Path(folder)
        _install(libraries)
        files = {**dict(_modules()), **dict(_files(libraries))}
        if authority is not None:
            files["ca.pem"] = authority
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as output:
            for name, file in sorted(files.items()):
                entry = zipfile.ZipInfo(name, _NEVER)
                entry.external_attr = 0o644 << 16
                output.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
        unpacked = sum(file.stat().st_size for file in files.values())
    sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.1f} MB, unpacked {unpacked / 1e6:.1f} MB\n")


def _install(folder: Path) -> None:
    """What is locked, by hash, as wheels for Lambda's Python."""
    command = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "install",
        "--quiet",
        "--target",
        str(folder),
    ]
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--link-mode", "copy", *PLATFORM]
    subprocess.run([*command, *options, "--requirement", str(LOCK)], check=True)


def _modules() -> Iterator[tuple[str, Path]]:
    """The handler and all of the product that it imports."""
    import_module(HANDLER)
    for name, module in sys.modules.items():
        if name.partition(".")[0] == HANDLER.partition(".")[0] and module.__file__:
            file = Path(module.__file__)
            path = name.replace(".", "/")
            yield (f"{path}/__init__.py" if file.name == "__init__.py" else f"{path}.py"), file


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in folder.rglob("*"):
        if file.is_file() and file.name != ".lock" and file.suffix not in (".pyc", ".pyi"):
            yield file.relative_to(folder).as_posix(), file


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
