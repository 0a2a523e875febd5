"""THE DOING: event loop, sockets, clocks, signals, logs."""
