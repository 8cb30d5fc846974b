# What the writer of papers reads of a font.
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

class TTLibError(Exception): ...

class NameRecord:
    nameID: int

class NameTable:
    names: Sequence[NameRecord]

class TTFont:
    def __init__(self, file: Path, *, fontNumber: int = ..., lazy: bool = ...) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __getitem__(self, tag: str) -> Any: ...
    def getBestCmap(self) -> Mapping[int, str]: ...
