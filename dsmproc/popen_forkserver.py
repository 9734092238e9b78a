"""multiprocessing.popen_forkserver itself, under its name here."""

import multiprocessing.popen_forkserver
import sys

sys.modules[__name__] = multiprocessing.popen_forkserver
