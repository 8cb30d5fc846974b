"""契約手続き用パスワード of offices: kept as argon2id hashes, which take time to make."""

from __future__ import annotations

from collections.abc import Mapping

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers.contract_file import Contracts
from storage.models import Office

# RFC 9106 §4, the second recommended option: a tenth of a second and 64 MiB a password.
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)


def known_password_hashes(session: Session, contracts: Contracts) -> dict[str, str]:
    """The stored hash of each office of the file that has one."""
    codes = [office.code for office in contracts.offices]
    rows = session.execute(select(Office.code, Office.contract_password_hash).where(Office.code.in_(codes)))
    return {row.code: row.contract_password_hash for row in rows if row.contract_password_hash}


def hash_contract_passwords(contracts: Contracts, known: Mapping[str, str]) -> dict[str, str]:
    """The argon2id hash of each office's 契約手続き用パスワード, the known one where it fits.

    It takes a tenth of a second an office: done before a unit of work, it keeps nobody waiting.
    """
    return {
        office.code: _hash(office.contract_password, known.get(office.code, ""))
        for office in contracts.offices
        if office.contract_password is not None
    }


def _hash(password: str, known: str) -> str:
    try:
        _HASHER.verify(known, password)
    except (VerifyMismatchError, InvalidHashError):
        return _HASHER.hash(password)
    return _HASHER.hash(password) if _HASHER.check_needs_rehash(known) else known
