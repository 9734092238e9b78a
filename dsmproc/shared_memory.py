"""multiprocessing.shared_memory's names; sharedmem.py has what they mean on a cluster."""

from . import _std
from .sharedmem import ShareableList, SharedMemory

__all__ = ["ShareableList", "SharedMemory"]

__getattr__ = _std.names_of("shared_memory")
