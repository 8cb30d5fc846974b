"""The service's secret outside the store (semantics §11)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.derived import keys_of
from gateway.key_file import KeyFileRefused, Keys, read_keys
from gateway.settings import Settings
from tests.handlers.review_cases import take_contracts


@pytest.fixture
def key_file(tmp_path):
    return tmp_path / "secret.key"


def written(file: Path, text: str, mode: int = 0o600) -> Path:
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_an_absent_file_is_made_for_its_owner_only_and_read_again(key_file):
    keys = read_keys(key_file, may_make=True)
    assert mode_of(key_file) == 0o600
    assert read_keys(key_file, may_make=False) == keys
    assert list(key_file.parent.iterdir()) == [key_file]  # no draft is left


def test_its_directory_is_made_private(tmp_path):
    read_keys(tmp_path / "var" / "secret.key", may_make=True)
    assert mode_of(tmp_path / "var") == 0o700


def test_a_mask_of_the_process_opens_nothing(key_file):
    before = os.umask(0)
    try:
        read_keys(key_file, may_make=True)
    finally:
        os.umask(before)
    assert mode_of(key_file) == 0o600


def test_each_installation_has_its_own_keys_and_one_for_each_use(tmp_path):
    one = read_keys(tmp_path / "one", may_make=True)
    other = read_keys(tmp_path / "other", may_make=True)
    assert len({one.edi_passwords, one.tokens, other.edi_passwords, other.tokens}) == 4
    assert all(len(key) == 32 for key in (one.edi_passwords, one.tokens))


def test_the_keys_depend_on_nothing_but_the_file(key_file):
    same = "0f" * 32
    first = read_keys(written(key_file, same), may_make=False)
    assert read_keys(written(key_file, f"  {same.upper()}\n"), may_make=False) == first
    assert bytes.fromhex(same) not in (first.edi_passwords, first.tokens)


def test_keys_are_not_shown():
    assert repr(Keys(b"edi" * 9, b"tok" * 9)) == "Keys()"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601, 0o620])
def test_a_file_open_to_others_is_refused(key_file, mode):
    written(key_file, "00" * 32, mode)
    with pytest.raises(KeyFileRefused, match="chmod 0600"):
        read_keys(key_file, may_make=True)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_for_its_owner_alone_is_taken(key_file, mode):
    assert len(read_keys(written(key_file, "00" * 32, mode), may_make=False).tokens) == 32


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "鍵" * 32, "00" * 31 + "0"])
def test_a_file_without_a_whole_key_is_refused_and_left_as_it_is(key_file, text):
    written(key_file, text)
    with pytest.raises(KeyFileRefused, match="32 bytes"):
        read_keys(key_file, may_make=True)
    assert key_file.read_text(encoding="utf-8") == text


def test_a_missing_file_is_refused_where_it_may_not_be_made(key_file):
    with pytest.raises(KeyFileRefused, match="restore it"):
        read_keys(key_file, may_make=False)
    assert not key_file.exists()


def test_who_finds_it_made_meanwhile_takes_the_same_key(key_file, monkeypatch):
    link = os.link

    def after_another(source: Path, target: Path) -> None:
        written(key_file, "11" * 32)
        link(source, target)

    monkeypatch.setattr(os, "link", after_another)
    keys = read_keys(key_file, may_make=True)
    assert keys == read_keys(key_file, may_make=False)
    assert key_file.read_text(encoding="ascii") == "11" * 32
    assert list(key_file.parent.iterdir()) == [key_file]


def test_beside_a_store_with_passwords_a_missing_file_is_refused(store, now, tmp_path):
    settings = Settings.model_validate({"secrets": {"key_file": str(tmp_path / "keys" / "secret.key")}})
    made = keys_of(settings, store)  # the store holds no password yet
    take_contracts(store, now)
    assert keys_of(settings, store) == made
    settings.secrets.key_file.unlink()
    with pytest.raises(KeyFileRefused, match="missing"):
        keys_of(settings, store)
