"""`python -m gateway` is `naccs-gateway`."""

from __future__ import annotations

from gateway.cli import main

main()
