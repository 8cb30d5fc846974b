"""How a command opens the store: by the settings, with a node of its own, beside a running service.

Trouble with the store, the key file or the disk ends the command with status 1 and the reason; nothing of the
command's work is then in the store.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import Invocation, refuse

if TYPE_CHECKING:
    from gateway.settings import Settings
    from handlers.calendar import BusinessCalendar
    from handlers.desk import DeskSettings
    from storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedStore:
    """The store for the length of a command, and what belongs to it."""

    settings: Settings
    store: Store

    def now(self) -> datetime:
        """The instant it is; moved where the sandbox's clock is."""
        from storage.clock import Clock

        clock = Clock(movable=self.settings.sandbox.movable_clock)
        self.store.read(clock.refresh)
        return clock.now()

    def desk(self) -> DeskSettings:
        """What the application desk is told of the settings; makes the key file beside an empty store."""
        from gateway.derived import desk_settings, keys_of

        return desk_settings(self.settings, keys_of(self.settings, self.store))

    def calendar(self, today: date) -> BusinessCalendar:
        """The business calendar of the store; years from `today` on that it knows nothing of are filled in."""
        from handlers.business_days import calendar_of, fill_in, missing_years

        if self.store.read(lambda session: missing_years(session, today)):
            self.store.run(lambda session: fill_in(session, today))
        return self.store.read(lambda session: calendar_of(session, today))


@contextmanager
def opened_store(invocation: Invocation) -> Iterator[OpenedStore]:
    """The store of the settings in force; it is created when there is none."""
    from gateway.key_file import KeyFileRefused
    from storage.failures import StoreRefused, StoreTrouble
    from storage.keys import NoNodeFree
    from storage.store import opened

    settings = invocation.settings()
    try:
        with opened(settings.store.url) as store:
            yield OpenedStore(settings=settings, store=store)
    except BrokenPipeError:
        raise  # whoever read the output has enough of it: no trouble of the store
    except (StoreRefused, StoreTrouble, NoNodeFree, KeyFileRefused, OSError) as error:
        refuse(str(error))


def _said_by_sudo(context: typer.Context, parameter: typer.CallbackParam, uid: int | None) -> int | None:
    # Whoever may run the command through sudo writes its arguments, but not this variable.
    source = context.get_parameter_source(parameter.name or "")
    if uid is not None and (source is None or source.name != "ENVIRONMENT"):
        raise typer.BadParameter("only sudo says who called it, in the environment")
    return uid


# sudo says in the environment who called it; the environment is read as an option is, by the command line.
SudoUid = Annotated[int | None, typer.Option(envvar="SUDO_UID", hidden=True, callback=_said_by_sudo)]


def actor(sudo_uid: int | None) -> str:
    """Who runs the command, for the audit trail: os:<user>, behind sudo the user who called it."""
    uid = os.getuid() if sudo_uid is None else sudo_uid
    try:
        return f"os:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"os:{uid}"
