"""What a template asks for, read from its source and from that of whatever it includes."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, meta, nodes

from handlers.notice_templates import catalogue

_FILTERS = ("folded", "iso_date", "iso_time", "kilobytes", "mail_date", "mail_time", "slash_date")
_GLOBALS = {"item"}
STANDING = {"addressee", "bilingual", "support", "case"}
JAPANESE, ENGLISH = "", ".en"


def _environment() -> Environment:
    environment = Environment(loader=PackageLoader("mail_templates", ""))  # noqa: S701 - nothing is rendered here
    environment.filters.update(dict.fromkeys(_FILTERS, str))
    return environment


def languages(name: str) -> tuple[str, ...]:
    """The languages a notice is written in."""
    kind = next(kind for kind in catalogue() if kind.name == name)
    return (JAPANESE, ENGLISH) if kind.english_subject else (JAPANESE,)


@cache
def parsed(name: str, language: str) -> tuple[nodes.Template, ...]:
    """Subject, body and every file they include."""
    environment = _environment()
    trees, files = [], [f"{name}/subject{language}.txt", f"{name}/body{language}.txt"]
    while files:
        assert environment.loader is not None
        tree = environment.parse(environment.loader.get_source(environment, files.pop())[0])
        trees.append(tree)
        files += [file for file in meta.find_referenced_templates(tree) if file]
    return tuple(trees)


@cache
def asked(name: str) -> frozenset[str]:
    """The variables that a notice takes from its sender, in all its languages."""
    found = {
        variable
        for language in languages(name)
        for tree in parsed(name, language)
        for variable in meta.find_undeclared_variables(tree)
    }
    return frozenset(found - _GLOBALS - STANDING)


def items(name: str, language: str) -> int:
    """How many labelled values a notice has in a language."""
    calls = (call for tree in parsed(name, language) for call in tree.find_all(nodes.Call))
    return sum(isinstance(call.node, nodes.Name) and call.node.name == "item" for call in calls)
