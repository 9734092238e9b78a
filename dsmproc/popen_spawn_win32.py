"""multiprocessing.popen_spawn_win32 itself, under its name here."""

import multiprocessing.popen_spawn_win32
import sys

sys.modules[__name__] = multiprocessing.popen_spawn_win32
