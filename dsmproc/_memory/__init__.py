"""A process's and an agent's half of the shared memory, above the native engine."""
