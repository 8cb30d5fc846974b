"""Every promise this version builds has a test that fails when it is broken, and the list of them is true."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
RULES = tomllib.loads((TESTS / "semantics.toml").read_text(encoding="utf-8"))["rule"]
SECTIONS_BUILT = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14}


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    found = (node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return frozenset(name for name in found if name.startswith("test_"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["promise"])
def test_a_promise_names_tests_that_exist(rule: dict[str, object]) -> None:
    named = rule["tests"]
    assert isinstance(named, list)
    assert named
    for name in named:
        file, _, function = name.partition("::")
        assert function in names_in(file), f"{name} is not there"


def test_every_chapter_that_is_built_has_promises() -> None:
    assert {rule["section"] for rule in RULES} >= SECTIONS_BUILT
