"""How clusters and their programs start and end."""
