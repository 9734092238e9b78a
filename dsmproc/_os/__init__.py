"""What the operating system is asked for: processes, descriptors, signal handlers."""
