import os
import sys

from places import cluster, place  # noqa: F401

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "sync"))
