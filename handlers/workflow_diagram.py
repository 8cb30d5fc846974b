"""The workflow as a page of the documentation, made from its table: a diagram and every transition."""

from __future__ import annotations

from collections.abc import Iterator

from handlers.workflow import STATUS_JA, TRANSITIONS, Event, Guard, State, Transition

_HEAD = """\
# The workflow of an application

This page is made from the table in `handlers/workflow.py`; a test compares the two. After a change of the table, make
it again:

    python -c "from handlers.workflow_diagram import page; print(page(), end='')" > docs/workflow.md

"""
_GUARDS = {
    Guard.NONE: "",
    Guard.START_NOT_PAST: "start is today or later",
    Guard.START_REACHED: "start has come",
}


def page() -> str:
    """The whole page, in Markdown."""
    return f"{_HEAD}```mermaid\n{diagram()}```\n\n{''.join(_states())}\n{''.join(_table())}"


def diagram() -> str:
    """A Mermaid state diagram: the moves between states; what leaves a state as it is stands in its note."""
    return "".join(f"{line}\n" for line in ("stateDiagram-v2", *_moves()))


def _moves() -> Iterator[str]:
    yield f"    [*] --> {State.RECEIVED}: an application is accepted"
    moves: dict[tuple[State, State], list[Event]] = {}
    for (state, event), transition in TRANSITIONS.items():
        moves.setdefault((state, transition.next), []).append(event)
    for (state, following), events in moves.items():
        if state is not following:
            yield f"    {state} --> {following}: {', '.join(events)}"
    for state in State:
        if not any(before is state for before, _ in TRANSITIONS):
            yield f"    {state} --> [*]"
    for state in State:
        stays = moves.get((state, state), [])
        if stays:
            yield f"    note right of {state}: {', '.join(stays)}"


def _states() -> Iterator[str]:
    yield "| state | ステータス |\n|---|---|\n"
    for state in State:
        yield f"| {state} | {STATUS_JA[state]} |\n"


def _table() -> Iterator[str]:
    yield "| state | event | next | only when | what is done, in this order |\n|---|---|---|---|---|\n"
    for (state, event), transition in TRANSITIONS.items():
        yield f"| {state} | {event} | {transition.next} | {_GUARDS[transition.guard]} | {_done(transition)} |\n"


def _done(transition: Transition) -> str:
    parts = [f"`{transition.first}` first"] if transition.first else []
    parts += [str(effect) for effect in transition.effects]
    parts += [f"then `{transition.then}`"] if transition.then else []
    return ", ".join(parts)
