"""The schema's versions: an empty store is migrated, an older one is refused until `migrate` was run."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from storage.engines import Engines
from storage.failures import StoreRefused

_SCRIPTS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x4E414343


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, made here so that no ini file is needed."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The newest revision of the schema."""
    revision = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if revision is None:
        raise StoreRefused("the installation holds no migrations: install the package again")
    return revision


def current(connection: Connection) -> str | None:
    """The revision the store is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def ensure_schema(engines: Engines) -> None:
    """Migrate an empty store; refuse one of another version, naming the command that helps."""
    with engines.reader.connect() as connection:
        found = current(connection)
        empty = found is None and not inspect(connection).get_table_names()
    if empty:
        migrate(engines)
    elif found != head():
        raise StoreRefused(
            f"the store is at schema version {found}, this program needs {head()}: "
            "stop the service, back the store up and run `naccs-gateway migrate`"
        )


def migrate(engines: Engines) -> str:
    """Bring the store to the newest version in one transaction and return it."""
    with engines.worker.begin() as connection:
        if not engines.on_sqlite:
            # Two processes that find the same empty store must not both create it.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        command.upgrade(alembic_config(connection), "head")
    return head()
