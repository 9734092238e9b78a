"""The native code: protocol core, engine and clients, and what binds them to Python."""
