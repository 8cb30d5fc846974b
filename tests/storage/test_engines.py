"""Opening the store: what is refused, and what is read back (semantics §2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import engines
from storage.engines import FileLock, open_engines, parse_url
from storage.failures import StoreRefused


def url_in(directory: Path, name: str = "gateway.db") -> str:
    return f"sqlite:///{directory / name}"


def test_a_missing_file_is_made_private_in_a_private_directory(tmp_path: Path) -> None:
    opened = open_engines(url_in(tmp_path / "var"))
    opened.dispose()
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "var" / "gateway.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("open_part", ["directory", "file"])
def test_a_store_that_is_open_to_others_is_refused(tmp_path: Path, open_part: str) -> None:
    directory = tmp_path / "var"
    open_engines(url_in(directory)).dispose()
    (directory if open_part == "directory" else directory / "gateway.db").chmod(0o755)
    with pytest.raises(StoreRefused, match="open to others"):
        open_engines(url_in(directory))


def test_sqlite_runs_in_wal_with_full_sync_and_big_pages(tmp_path: Path) -> None:
    opened = open_engines(url_in(tmp_path / "var"))
    with opened.writer.connect() as connection:
        read = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "page_size", "secure_delete")
        }
    opened.dispose()
    assert read == {"journal_mode": "wal", "synchronous": 2, "page_size": 16384, "secure_delete": 1}


def test_an_sqlite_that_can_corrupt_its_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "OLDEST_SQLITE", (99, 0, 0))
    with pytest.raises(StoreRefused, match="corrupt"):
        open_engines(url_in(tmp_path / "var"))


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_postgresql_that_does_not_sync_is_refused(store_url: str) -> None:
    with pytest.raises(StoreRefused, match="synchronous_commit"):
        open_engines(store_url + "&options=-csynchronous_commit%3Doff")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://db.example/x"])
def test_a_store_the_gateway_does_not_run_on_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused):
        parse_url(url)


def test_a_second_serve_on_one_file_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    opened = open_engines(url_in(tmp_path / "var"))
    opened.dispose()
    first, second = FileLock(opened.url), FileLock(opened.url)
    first.acquire()
    with pytest.raises(StoreRefused, match="another serve"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    second.release()
