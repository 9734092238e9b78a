"""Pools: the handler in the pool's process, the workers, and the agent's task mailboxes."""
