"""Connections between processes of a cluster: listening, framing, tags, heartbeats."""
