"""Packages import downwards, files are short, and what is public says what it does."""

from __future__ import annotations

import ast

import pytest

import dsmproc

from . import imports

# A package, and what its files may import. What is not named here is the face: the modules with
# multiprocessing's names, the command, and what starts them. They may import all that is below.
GROUND = {"_os", "_settings", "_native", "_version", "errors"}
BELOW = {
    "_os": set(),
    "_native": {"errors"},
    "_settings": {"_os"},
    "_net": GROUND,
    "_membership": GROUND | {"_net"},
    "_memory": GROUND | {"_net", "_membership"},
    "_std": GROUND | {"_membership", "_memory"},
    "_sync": {"_memory", "_std"},
    "_parcels": GROUND | {"_net", "_membership", "_std"},
    "_pool": GROUND | {"_net", "_membership", "_memory", "_std", "_parcels"},
    "_channels": GROUND | {"_net", "_membership", "_memory", "_std"},
    "_cluster": GROUND | {"_net", "_memory", "_channels", "_parcels", "_pool", "_workers"},
    "_launch": GROUND | {"_net", "_membership", "_memory", "_workers", "_cluster", "_patch"},
}
# A standard queue is served by a process, over connections of ours.
FACE_BELOW = {"dsmproc._channels.stdqueues": {"dsmproc.cluster", "dsmproc.connection"}}


@pytest.fixture(scope="module")
def graph() -> imports.Graph:
    return imports.graph()


def test_no_module_reaches_itself(graph: imports.Graph) -> None:
    """Not by an import in a function or for an annotation, either."""
    assert imports.in_circles(graph) == []


def test_packages_import_what_is_below_them(graph: imports.Graph) -> None:
    upwards = [
        f"{user} -> {used}"
        for user, all_used in graph.items()
        for used in all_used - FACE_BELOW.get(user, set())
        if imports.room(user) in BELOW
        and imports.room(used) not in {imports.room(user), *BELOW[imports.room(user)]}
    ]
    assert upwards == []


def test_the_table_names_every_package_that_others_use(graph: imports.Graph) -> None:
    folders = {path.parent.name for path in imports.modules().values()} - {"dsmproc", "_startup"}
    assert folders - {"_workers"} <= set(BELOW)  # what runs in a worker stands on all of it


def test_files_are_short() -> None:
    long = {path.name: lines for path, lines in _lines() if lines > 600}
    assert long == {}


def test_a_handler_is_found_in_a_table() -> None:
    """No tool finds one whose name is made at run time."""
    made = [path.name for path, _ in _lines() if "getattr(self, f" in path.read_text("utf-8")]
    assert made == []


def test_what_is_said_on_stderr_is_said_in_one_write() -> None:
    """By `say`: other processes write there too."""
    printing = [path.name for path, _ in _lines() if "file=sys.stderr" in path.read_text("utf-8")]
    assert printing == []


def test_public_callables_have_docstrings() -> None:
    public = {name: getattr(dsmproc, name) for name in dsmproc.__all__}
    ours = {
        name: one for name, one in public.items() if "dsmproc" in getattr(one, "__module__", "")
    }
    assert len(ours) > 30
    assert [name for name, one in ours.items() if not one.__doc__] == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        name
        for name, path in imports.modules().items()
        if ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]
    assert silent == []


def _lines() -> list[tuple[imports.Path, int]]:
    files = imports.modules().values()
    return [(path, len(path.read_text("utf-8").splitlines())) for path in files]
