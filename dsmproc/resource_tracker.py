"""multiprocessing.resource_tracker itself, under its name here."""

import multiprocessing.resource_tracker
import sys

sys.modules[__name__] = multiprocessing.resource_tracker
