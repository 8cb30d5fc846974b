"""What a mail or an EDI message means: no sockets, no environment, no clock of its own."""
