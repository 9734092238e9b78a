"""Detection is quick in these tests; they measure from it."""

SECONDS = 1.5  # of silence; a host is lost after it
