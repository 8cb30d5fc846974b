# What the gateway uses of dkimpy.
import logging
from collections.abc import Callable, Sequence
from typing import Any

HASH_ALGORITHMS: dict[bytes, Callable[..., Any]]

class DKIMException(Exception): ...

class DKIM:
    headers: list[list[bytes]]
    body: bytes
    hasher: Callable[..., Any]
    signature_algorithm: bytes
    def __init__(
        self,
        message: bytes | None = ...,
        logger: logging.Logger | None = ...,
        *,
        signature_algorithm: bytes = ...,
        minkey: int = ...,
    ) -> None: ...
    def gen_header(
        self,
        fields: list[tuple[bytes, bytes]],
        include_headers: Sequence[bytes],
        canon_policy: Any,
        header_name: bytes,
        pk: Any,
        standardize: bool = ...,
    ) -> bytes: ...
    def sign(
        self,
        selector: bytes,
        domain: bytes,
        privkey: bytes,
        signature_algorithm: bytes | None = ...,
        identity: bytes | None = ...,
        canonicalize: tuple[bytes, bytes] = ...,
        include_headers: Sequence[bytes] | None = ...,
        length: bool = ...,
    ) -> bytes: ...
    def verify(self, idx: int = ..., dnsfunc: Callable[..., bytes | None] = ...) -> bool: ...

def evaluate_pk(name: bytes, s: bytes | None) -> tuple[Any, int, bytes, bool]: ...
def verify(message: bytes, *, dnsfunc: Callable[..., bytes | None] = ...) -> bool: ...
