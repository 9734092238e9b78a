import os
import sys
from multiprocessing import resource_tracker

from places import cluster, place  # noqa: F401

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "sync"))

# The standard library's shared memory starts its tracker once per process: before the leak checks.
resource_tracker.ensure_running()
