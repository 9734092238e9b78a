"""A joblib backend: `import dsmproc.joblib`, then `joblib.parallel_config("dsmproc")`.

What joblib and the libraries above it (scikit-learn) run in parallel then runs in a pool over all
hosts of the cluster; without one, in a pool on this host.
"""

from __future__ import annotations

from typing import Any

from joblib import register_parallel_backend
from joblib._parallel_backends import AutoBatchingMixin, ParallelBackendBase, PoolManagerMixin

from .context import default_context

__all__ = ["DsmprocBackend"]


class DsmprocBackend(PoolManagerMixin, AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """One pool for each Parallel call, or for each `with Parallel(...)`."""

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """As joblib counts: -1 is every slot of the cluster, -2 all but one."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs < 0:
            return max(default_context.cpu_count() + 1 + n_jobs, 1)
        return n_jobs

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Start the pool; what concerns memory-mapped files is not ours."""
        n_jobs = self.effective_n_jobs(n_jobs)
        self._pool = default_context.Pool(n_jobs)
        self.parallel = parallel
        return n_jobs

    def terminate(self) -> None:
        super().terminate()
        self.reset_batch_stats()


register_parallel_backend("dsmproc", DsmprocBackend)
