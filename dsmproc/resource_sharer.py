"""multiprocessing.resource_sharer itself, under its name here."""

import multiprocessing.resource_sharer
import sys

sys.modules[__name__] = multiprocessing.resource_sharer
