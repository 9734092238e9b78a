"""Worker processes: how an agent starts them, shows their output and sends them modules."""
