"""The whole gateway as its users meet it: real processes, real sockets, the command line, both stores."""
