import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pii_pipeline.vault_service.errors import CannotServe
from pii_pipeline.vault_service.first_token import first_token


def test_it_is_made_once_for_its_owner_alone(tmp_path: Path):
    file = tmp_path / "keys" / "vault-token"
    with ThreadPoolExecutor(8) as starts:
        tokens = set(starts.map(lambda _: first_token(file), range(8)))
    assert tokens == {first_token(file)} and len(tokens.pop()) == 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


def test_another_installation_has_another(tmp_path: Path):
    assert first_token(tmp_path / "one") != first_token(tmp_path / "two")


def test_a_file_that_others_may_read_is_refused(tmp_path: Path):
    file = tmp_path / "token"
    first_token(file)
    file.chmod(0o640)
    with pytest.raises(CannotServe, match="can be read by others; change that with: chmod 600"):
        first_token(file)


@pytest.mark.parametrize("text", ["", "short", "jane@planted.example", "x" * 42 + "é"])
def test_a_file_that_holds_no_token_is_refused_and_not_quoted(tmp_path: Path, text: str):
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(text)
    with pytest.raises(CannotServe) as refused:
        first_token(file)
    assert str(refused.value) == f"{file} holds no token; remove it, and the next start makes another"


def test_what_is_no_file_is_refused_with_a_mend_that_does_no_harm(tmp_path: Path):
    with pytest.raises(CannotServe, match="is no file") as refused:
        first_token(tmp_path)
    assert "chmod" not in str(refused.value)
    (tmp_path / "file").touch()
    with pytest.raises(CannotServe, match=r"PII_VAULT_TOKEN_FILE: .*: File exists — name a file"):
        first_token(tmp_path / "file" / "token")
