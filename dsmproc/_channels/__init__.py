"""Pipes, queues and connections: the ends in a process, and the broker in its agent."""
