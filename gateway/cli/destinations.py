"""`destination list|show|pause|resume|flush|switch|release-request`: the lanes as an operator works them.

A destination is a terminal's name, `backend` or `smarthost:0`. A running service notices by itself.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Annotated, NoReturn

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.explain import show_lane
from gateway.cli.opening import OpenedStore, SudoUid, actor, opened_store
from gateway.cli.options import AsJson
from gateway.cli.showing import instant, plain, printable

destination_app = typer.Typer(no_args_is_help=True, help="Destinations: how they stand, pause, resume, flush, switch.")

Name = Annotated[str, typer.Argument(help="A terminal's name, backend, or smarthost:0.")]


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(destination_app, name="destination")


@destination_app.command("list")
def list_destinations(
    context: typer.Context,
    troubled: Annotated[
        bool, typer.Option("--troubled", help="Only those that are paused or down, or hold undelivered messages.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the destinations that have carried something or are paused."""
    from handlers.lane_operations import lane_states

    running = invocation(context)
    with opened_store(running) as opened:
        now = opened.now()
        found = opened.store.read(lambda session: lane_states(session, now))
    lanes = [lane for lane in found if _is_destination(lane.lane)]
    if troubled:
        lanes = [lane for lane in lanes if lane.paused or lane.down_since or lane.undelivered]
    if as_json:
        print_json(plain(lanes))
        return
    for lane in lanes:
        show_lane(running, lane)


@destination_app.command("show")
def show_destination(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show one destination, one that has carried nothing yet too."""
    running = invocation(context)
    with opened_store(running) as opened:
        lane = _lane(running, opened, name)
        _show(running, opened, lane, as_json=as_json)


@destination_app.command("pause")
def pause_destination(
    context: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, for everybody who looks at it.")] = "",
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Send nothing more to a destination until it is resumed; what waits for a terminal does not age meanwhile."""
    from handlers.lane_operations import pause

    running, by = invocation(context), actor(sudo_uid)
    with opened_store(running) as opened:
        lane, now = _lane(running, opened, name), opened.now()
        known = opened.store.run(partial(pause, lane=lane, reason=reason, actor=by, now=now))
        if known is not None:
            since = instant(known.paused_at)
            refuse(
                running.text(
                    ja=f"{name} は {since} から一時停止中です（{known.actor} {printable(known.reason)}）",
                    en=f"{name} has been paused since {since} by {known.actor} {printable(known.reason)}".rstrip(),
                )
            )
        _show(running, opened, lane, as_json=as_json)


@destination_app.command("resume")
def resume_destination(context: typer.Context, name: Name, as_json: AsJson = False, sudo_uid: SudoUid = None) -> None:
    """Send to a paused destination again."""
    from handlers.lane_operations import resume

    running, by = invocation(context), actor(sudo_uid)
    with opened_store(running) as opened:
        lane, now = _lane(running, opened, name), opened.now()
        if not opened.store.run(partial(resume, lane=lane, actor=by, now=now)):
            refuse(running.text(ja=f"{name} は一時停止していません", en=f"{name} is not paused"))
        _show(running, opened, lane, as_json=as_json)


@destination_app.command("flush")
def flush_destination(context: typer.Context, name: Name, as_json: AsJson = False, sudo_uid: SudoUid = None) -> None:
    """Try a destination at once, whatever its back-off says; a paused one stays paused."""
    from handlers.lane_operations import flush

    running, by = invocation(context), actor(sudo_uid)
    with opened_store(running) as opened:
        lane, now = _lane(running, opened, name), opened.now()
        opened.store.run(partial(flush, lane=lane, actor=by, now=now))
        _show(running, opened, lane, as_json=as_json)


@destination_app.command("switch")
def switch_destination(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="backend, the one destination with two addresses.")],
    to: Annotated[str, typer.Option(help="primary, backup, or auto: let the gateway choose.")],
    drill: Annotated[
        str | None, typer.Option(help="Only for so long, such as 30min; then the gateway chooses again.")
    ] = None,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Hand requests over to the primary or the backup address of the backend."""
    from handlers.lane_operations import BACKEND_LANE, Endpoint, switch_backend

    running, by = invocation(context), actor(sudo_uid)
    if name != BACKEND_LANE:
        raise typer.BadParameter("only the backend has two addresses", param_hint="NAME")
    if to not in set(Endpoint):
        raise typer.BadParameter(f"it is one of {', '.join(Endpoint)}", param_hint="--to")
    endpoint = Endpoint(to)
    if drill is not None and endpoint is Endpoint.AUTO:
        raise typer.BadParameter("a drill wants one of the two addresses", param_hint="--drill")
    length = None if drill is None else _length(drill)
    with opened_store(running) as opened:
        if endpoint is not Endpoint.AUTO and not opened.settings.backend.backup_host:
            refuse(running.text(ja="backend.backup_host が設定されていません", en="backend.backup_host is not set"))
        now = opened.now()
        until = None if length is None else now + length
        opened.store.run(partial(switch_backend, endpoint=endpoint, drill_until=until, actor=by, now=now))
        _show(running, opened, BACKEND_LANE, as_json=as_json)


@destination_app.command("release-request")
def release_request(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="The mail address, or the id of the request or of its mail.")],
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Wait no longer for the result of a request, so that its address may send the next one.

    A result that comes later is delivered all the same.
    """
    from handlers.lane_operations import release_requests

    running, by = invocation(context), actor(sudo_uid)
    with opened_store(running) as opened:
        now = opened.now()
        ended = opened.store.run(partial(release_requests, what=what, actor=by, now=now))
    if not ended:
        shown = printable(what)
        refuse(running.text(ja=f"{shown} には結果待ちの要求がありません", en=f"{shown} waits for no result"))
    if as_json:
        print_json(plain(ended))
        return
    for one in ended:
        typer.echo(f"{one.request_id}  mail {one.mail_id}  {one.address}")


def _is_destination(lane: str) -> bool:
    """Whether something is delivered over the lane; the worker holds one of its own, which nobody can name."""
    from handlers.lane_operations import BACKEND_LANE

    return lane == BACKEND_LANE or lane.startswith(("terminal:", "smarthost:"))


def _length(text: str) -> timedelta:
    from gateway.setting_values import read_duration

    try:
        seconds = float(str(read_duration(text)))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= timedelta(days=31).total_seconds():
        raise typer.BadParameter("a time such as 30min, up to 31 days", param_hint="--drill")
    return timedelta(seconds=seconds)


def _lane(running: Invocation, opened: OpenedStore, name: str) -> str:
    from handlers.lane_operations import lane_named

    lanes = opened.settings.smarthost.lanes
    found = opened.store.read(lambda session: lane_named(session, name, smarthost_lanes=lanes))
    if found is None:
        _no_destination(running, name)
    return found


def _no_destination(running: Invocation, name: str) -> NoReturn:
    shown = printable(name)
    refuse(running.text(ja=f"宛先 {shown} はありません", en=f"there is no destination {shown}"))


def _show(running: Invocation, opened: OpenedStore, lane: str, *, as_json: bool) -> None:
    from handlers.lane_operations import lane_states

    (found,) = opened.store.read(lambda session: lane_states(session, opened.now(), [lane]))
    if as_json:
        print_json(plain(found))
    else:
        show_lane(running, found)
