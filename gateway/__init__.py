"""The edges of the gateway: sockets, clocks, keys and people."""
