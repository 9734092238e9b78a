"""The control plane: the master and its hosts, an agent on each, names, losses."""
