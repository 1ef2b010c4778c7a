"""Messages between processes: ZeroMQ sockets, the control server, publishers, and channels to our own children."""
