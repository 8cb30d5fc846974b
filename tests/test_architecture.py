"""The shape of the code base: sizes, names, who may import what, and that the locks name no host."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gateway.setting_sections import Section
from gateway.settings import Settings

ROOT = Path(__file__).parents[1]
PACKAGES = ("gateway", "handlers", "mail_templates", "storage")
SHIPPED = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LOCKS = sorted(ROOT.glob("requirements*.lock"))

LONGEST_FILE = 500
LONGEST_FUNCTION = 60

# Modules named for what they are not.
FORBIDDEN_NAMES = re.compile(r"util|helper|manager|common$|misc|stuff", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b|NotImplementedError")

# Who alone may import a library; a folder stands for all below it.
ALLOWED_IN = {
    "aiosmtpd": ("gateway/smtp_server.py", "gateway/sandbox/"),
    "aiosmtplib": ("gateway/delivery.py", "gateway/smtp_out.py", "gateway/failures.py"),
    "dkim": ("gateway/sender_auth.py", "gateway/signing.py"),
    "dns": ("gateway/",),
    "psycopg": ("storage/",),
    "pysqlite3": ("storage/",),
    "typer": ("gateway/cli/",),
    "typst": ("gateway/document_pdf.py",),
    "uvloop": ("gateway/",),
}

# What a handler is given, so never fetches: clocks, sockets, the environment, threads.
NOT_IN_HANDLERS = {"asyncio", "os", "smtplib", "socket", "subprocess", "threading", "time"}
CLOCK_CALLS = {"now", "today", "utcnow"}

# Import names that are not the name of the distribution.
DISTRIBUTIONS = {
    "argon2": "argon2-cffi",
    "dkim": "dkimpy",
    "dns": "dnspython",
    "fontTools": "fonttools",
    "pydantic_core": "pydantic",
    "zoneinfo": "tzdata",
}
# Declared, but found by name at run time: the zone files, and Ed25519 by dkimpy.
NEVER_IMPORTED = {"pynacl", "tzdata"}

# Settings that nothing outside the settings reads, each with its reason.
JUDGED_BY_THE_SETTINGS: set[str] = set()

DOCUMENTS = (
    "README.md",
    "README.ja.md",
    "LICENSE",
    "docs/changelog.md",
    "docs/damage.md",
    "docs/decisions.md",
    "docs/desk.md",
    "docs/flow.md",
    "docs/glossary.md",
    "docs/operating.md",
    "docs/performance.md",
    "docs/quirks.md",
    "docs/specifications.md",
    "docs/workflow.md",
)


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(file: Path) -> Iterator[str]:
    """Every module that is imported, wherever in the file."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_levels(file: Path) -> set[str]:
    return {module.partition(".")[0] for module in imports(file)}


@pytest.mark.parametrize("file", SHIPPED, ids=name_of)
def test_no_file_is_longer_than_500_lines(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("file", SHIPPED, ids=name_of)
def test_no_function_is_longer_than_60_lines(file):
    too_long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert too_long == []


@pytest.mark.parametrize("file", [*SHIPPED, *TESTS], ids=name_of)
def test_no_module_is_named_for_what_it_is_not(file):
    assert not FORBIDDEN_NAMES.search(file.stem)


@pytest.mark.parametrize("file", SHIPPED, ids=name_of)
def test_every_module_says_what_it_promises(file):
    if not tree(file).body:
        return  # an empty file that only makes a folder a package
    promise = ast.get_docstring(tree(file))
    assert promise
    assert len(promise.splitlines()) <= 12


@pytest.mark.parametrize("file", SHIPPED, ids=name_of)
def test_nothing_shipped_is_unfinished(file):
    assert not UNFINISHED.search(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", SHIPPED, ids=name_of)
def test_a_library_is_imported_only_where_it_belongs(file):
    misplaced = [
        library
        for library, places in ALLOWED_IN.items()
        if library in top_levels(file) and not name_of(file).startswith(places)
    ]
    assert misplaced == []


@pytest.mark.parametrize("file", sorted((ROOT / "storage").rglob("*.py")), ids=name_of)
def test_storage_imports_nothing_of_ours(file):
    assert not top_levels(file) & {"gateway", "handlers", "mail_templates", "tests"}


@pytest.mark.parametrize("file", sorted((ROOT / "handlers").rglob("*.py")), ids=name_of)
def test_handlers_are_given_clock_environment_and_network(file):
    assert not top_levels(file) & (NOT_IN_HANDLERS | {"gateway", "tests"})
    clocks = [
        ast.unparse(node)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLOCK_CALLS
        and ast.unparse(node.func.value) in {"datetime", "datetime.datetime", "date", "datetime.date"}
    ]
    assert clocks == []


@pytest.mark.parametrize("file", sorted((ROOT / "handlers").rglob("*.py")), ids=name_of)
def test_handlers_never_commit(file):
    commits = [
        ast.unparse(node)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"commit", "rollback"}
    ]
    assert commits == []


@pytest.mark.parametrize("file", SHIPPED, ids=name_of)
def test_only_the_settings_read_the_environment(file):
    if name_of(file) == "gateway/settings.py":
        return
    text = file.read_text(encoding="utf-8")
    assert "os.environ" not in text
    assert "os.getenv" not in text


def test_every_setting_is_read_by_what_it_sets():
    readers = [file for file in SHIPPED if not name_of(file).startswith("gateway/setting")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in readers)
    unread = {
        f"{section}.{key}"
        for section, kind in Settings.model_fields.items()
        if isinstance(kind.annotation, type) and issubclass(kind.annotation, Section)
        for key in kind.annotation.model_fields
        if not re.search(rf"\.{key}\b", text)
    }
    assert unread - JUDGED_BY_THE_SETTINGS == set()


def test_mail_templates_hold_no_code():
    assert [name_of(file) for file in (ROOT / "mail_templates").rglob("*.py")] in (
        [],
        ["mail_templates/__init__.py"],
    )


def test_every_library_that_is_imported_is_declared_and_the_other_way_round():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["pdf"], *extras["postgres"]]
    declared = {re.split(r"[\[<>=~;! ]", each, maxsplit=1)[0] for each in wanted}
    modules = {module for file in SHIPPED for module in top_levels(file)}
    imported = {
        DISTRIBUTIONS.get(module, module.replace("_", "-"))
        for module in modules
        if module not in PACKAGES
        and module != "__future__"
        and (module not in sys.stdlib_module_names or module in DISTRIBUTIONS)
    }
    assert imported - declared == set()
    assert declared - imported - NEVER_IMPORTED == set()


@pytest.mark.parametrize("lock", LOCKS, ids=name_of)
def test_a_lock_names_no_host_and_hashes_every_library(lock):
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", text)
    blocks = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert len(blocks) > 20
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_development_lock_agrees_with_the_one_that_ships():
    def pinned(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE))

    runtime, development = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert {name: development.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_document_is_there_and_says_something(document):
    assert len((ROOT / document).read_text(encoding="utf-8")) > 500


def test_each_decision_is_dated_and_each_library_has_one():
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (?!\d{4}-\d\d-\d\d )", text, re.MULTILINE) == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    libraries = [re.split(r"[\[<>=~;! ]", each, maxsplit=1)[0] for each in project["dependencies"]]
    assert [library for library in libraries if library.lower() not in text.lower()] == []
