from places import cluster, place  # noqa: F401
