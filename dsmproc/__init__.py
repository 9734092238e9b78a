"""multiprocessing over many machines, with memory that really is shared."""
