"""The schema's versions (design §3: one set of migrations for both stores)."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from storage.engines import open_engines
from storage.failures import StoreRefused
from storage.models import Base
from storage.schema import alembic_config, current, ensure_schema, head, migrate
from storage.store import Store


def test_the_migrations_make_what_the_models_say(store: Store) -> None:
    with store.engines.reader.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_an_empty_store_is_migrated_and_a_current_one_left_alone(empty_store_url: str) -> None:
    engines = open_engines(empty_store_url)
    ensure_schema(engines)
    ensure_schema(engines)
    with engines.reader.connect() as connection:
        assert current(connection) == head()
    assert migrate(engines) == head()
    engines.dispose()


def test_a_store_of_another_version_is_refused_naming_the_command(empty_store_url: str) -> None:
    engines = open_engines(empty_store_url)
    ensure_schema(engines)
    with engines.worker.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(StoreRefused, match="naccs-gateway migrate"):
        ensure_schema(engines)
    engines.dispose()


def test_the_newest_migration_can_be_taken_back(empty_store_url: str) -> None:
    engines = open_engines(empty_store_url)
    ensure_schema(engines)
    with engines.worker.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    with engines.reader.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    engines.dispose()
