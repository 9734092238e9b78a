"""Programs nobody here wrote, from their packages. Their processes are on three other hosts than
the driver, and no two hosts share a file, a pid or an address.

Each ends with the number of hosts, other than the driver's, that took part: none is a failure.
"""

from __future__ import annotations

import pytest
from hostcluster import HostCluster

ELSEWHERE = {"DSMPROC_PLACE": "remote"}

EXECUTOR = """
    from concurrent.futures import ProcessPoolExecutor, as_completed
    import dsmproc

    state = None

    def prepare(value):
        global state
        state = value

    def task(x):
        if x == 7:
            raise KeyError(x)
        return state + x, dsmproc.current_host()

    if __name__ == "__main__":
        ctx = dsmproc.get_context()
        with ProcessPoolExecutor(2, mp_context=ctx, initializer=prepare, initargs=(5,)) as executor:
            futures = [executor.submit(task, x) for x in range(7)]
            done = [future.result() for future in as_completed(futures, timeout=60)]
            assert sorted(value for value, _ in done) == list(range(5, 12))
            assert list(executor.map(task, [1, 2, 3], chunksize=2))[2][0] == 8
            error = executor.submit(task, 7).exception(timeout=60)
            assert isinstance(error, KeyError) and error.args == (7,)
        elsewhere = {host for _, host in done} - {0}
"""

GYMNASIUM = """
    import gymnasium, numpy
    import dsmproc
    from gymnasium.vector import AsyncVectorEnv

    class Where(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0, 1000, (3,), numpy.float64)
        action_space = gymnasium.spaces.Discrete(5)
        def reset(self, *, seed=None, options=None):
            self.steps = 0
            return numpy.zeros(3), {}
        def step(self, action):
            self.steps += 1
            seen = numpy.array([dsmproc.current_host(), self.steps, action], float)
            return seen, 1.0, False, False, {}

    if __name__ == "__main__":
        envs = AsyncVectorEnv([Where] * 3, shared_memory=True, context="cluster")
        first, _ = envs.reset(seed=1)
        assert not first.any()
        for step in range(1, 20):
            seen, rewards, *_ = envs.step(numpy.array([step % 5] * 3))
            assert (seen[:, 1] == step).all() and (seen[:, 2] == step % 5).all(), seen
            assert (rewards == 1).all()
        envs.close()
        elsewhere = set(seen[:, 0].astype(int)) - {0}
"""

EMCEE = """
    import emcee, numpy
    import dsmproc

    def log_probability(x):
        return -0.5 * numpy.sum(x**2)

    def host(_):
        return dsmproc.current_host()

    if __name__ == "__main__":
        start = numpy.random.default_rng(1).normal(size=(8, 2))
        with dsmproc.Pool(2) as pool:
            sampler = emcee.EnsembleSampler(8, 2, log_probability, pool=pool)
            sampler.run_mcmc(start, 30)
            assert sampler.get_chain().shape == (30, 8, 2)
            assert numpy.isfinite(sampler.get_log_prob()).all()
            elsewhere = set(pool.map(host, range(8))) - {0}
"""

SCIPY = """
    import numpy
    import dsmproc
    from scipy.optimize import differential_evolution, rosen

    def host(_):
        return dsmproc.current_host()

    if __name__ == "__main__":
        bounds = [(0, 2), (0, 2)]
        with dsmproc.Pool(2) as pool:
            found = differential_evolution(
                rosen, bounds, workers=pool.map, updating="deferred", maxiter=30, seed=1
            )
            alone = differential_evolution(rosen, bounds, updating="deferred", maxiter=30, seed=1)
            assert (found.x == alone.x).all() and found.fun < 1e-2
            elsewhere = set(pool.map(host, range(8))) - {0}
"""

SKLEARN = """
    import dsmproc
    import dsmproc.joblib
    import joblib, numpy
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score

    def host(_):
        return dsmproc.current_host()

    if __name__ == "__main__":
        x, y = make_classification(200, random_state=1)
        grid = {"C": [0.01, 0.1, 1.0]}
        alone = GridSearchCV(LogisticRegression(), grid, cv=3).fit(x, y)
        with joblib.parallel_config("dsmproc", n_jobs=2):
            search = GridSearchCV(LogisticRegression(), grid, cv=3).fit(x, y)
            assert len(cross_val_score(LogisticRegression(), x, y, cv=4)) == 4
            elsewhere = set(joblib.Parallel()(joblib.delayed(host)(i) for i in range(20))) - {0}
        assert search.best_params_ == alone.best_params_
        scores = "mean_test_score"
        assert numpy.allclose(search.cv_results_[scores], alone.cv_results_[scores])
"""

TQDM = """
    import io
    import dsmproc
    from tqdm import tqdm

    def task(x):
        with tqdm.get_lock():
            return x, dsmproc.current_host()

    if __name__ == "__main__":
        tqdm.set_lock(dsmproc.RLock())
        shown = io.StringIO()
        with dsmproc.Pool(2, initializer=tqdm.set_lock, initargs=(tqdm.get_lock(),)) as pool:
            done = list(tqdm(pool.imap(task, range(50)), total=50, file=shown))
        assert [x for x, _ in done] == list(range(50))
        assert "50/50" in shown.getvalue()
        elsewhere = {host for _, host in done} - {0}
"""

ASKING = """
    import multiprocessing, multiprocessing.pool
    import dsmproc
    from multiprocessing.context import BaseContext

    def host(_):
        return dsmproc.current_host()

    if __name__ == "__main__":
        ctx = multiprocessing.get_context("cluster")
        assert isinstance(ctx, BaseContext) and isinstance(dsmproc.get_context(), BaseContext)
        with ctx.Pool(2) as pool:
            assert isinstance(pool, multiprocessing.pool.Pool)
            assert pool._processes == 2 and len(pool._pool) == 2
            assert all(isinstance(p, multiprocessing.process.BaseProcess) for p in pool._pool)
            assert len({p.pid for p in pool._pool}) == 2
            elsewhere = set(pool.map(host, range(8))) - {0}
"""

PROGRAMS = [
    ("concurrent.futures", "concurrent.futures", EXECUTOR),
    ("gymnasium", "gymnasium", GYMNASIUM),
    ("emcee", "emcee", EMCEE),
    ("scipy", "scipy", SCIPY),
    ("scikit-learn", "sklearn", SKLEARN),
    ("tqdm", "tqdm", TQDM),
    ("isinstance and pool._processes", "multiprocessing", ASKING),
]


@pytest.mark.parametrize(
    ("module", "text"), [p[1:] for p in PROGRAMS], ids=[p[0] for p in PROGRAMS]
)
def test_program(hosts: HostCluster, module: str, text: str) -> None:
    pytest.importorskip(module)
    end = "\n        assert elsewhere, 'no process on another host'\n"
    hosts.run(0, text.rstrip() + end, env=ELSEWHERE, timeout=110).check()
