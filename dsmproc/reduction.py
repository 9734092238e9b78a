"""multiprocessing.reduction itself, under its name here."""

import multiprocessing.reduction
import sys

sys.modules[__name__] = multiprocessing.reduction
