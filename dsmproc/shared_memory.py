"""multiprocessing.shared_memory's names; sharedmem.py has what they mean on a cluster."""

from .sharedmem import ShareableList, SharedMemory

__all__ = ["ShareableList", "SharedMemory"]
