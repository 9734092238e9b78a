"""Tests of CPython that this interpreter was installed without, from Debian's package of them.

    python -m tests.compat.cpython_fetch

They are the same in all releases of a version but for details, so the package of another one will
do. What is fetched is kept in this virtual environment, whose interpreters find it in `test` from
then on: on all hosts of a cluster, and where a test starts an isolated one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile

import test

APART = os.path.join(sys.prefix, "share", "dsmproc", "test")
NAMES = ("_test_multiprocessing", "test_concurrent_futures")
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def fetch(name: str) -> str:
    """`test.<name>`; "" or why it is not to be had."""
    if sys.prefix == sys.base_prefix:
        return "that is done in a virtual environment only"
    package = f"lib{VERSION}-testsuite"
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # for the user as which apt downloads
        for command in (["apt-get", "download", package], ["sh", "-c", "dpkg-deb -x *.deb ."]):
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            except FileNotFoundError:
                return f"there is no {command[0]} here"
            if done.returncode:
                return (done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1]
        found = os.path.join(folder, "usr", "lib", VERSION, "test", name)
        os.makedirs(APART, exist_ok=True)
        if os.path.isdir(found):
            shutil.copytree(found, os.path.join(APART, name), dirs_exist_ok=True)
        elif os.path.isfile(found + ".py"):
            shutil.copy(found + ".py", APART)
        else:
            return f"{package} has no {name}"
    line = f"import test; test.__path__.append({APART!r})\n"
    packages = sysconfig.get_path("purelib")
    with open(os.path.join(packages, "cpython-tests.pth"), "w", encoding="utf-8") as file:
        file.write(line)
    test.__path__.append(APART)
    importlib.invalidate_caches()
    return ""


def main() -> int:
    """Fetch what is missing."""
    for name in NAMES:
        if importlib.util.find_spec(f"test.{name}") is None:
            why = fetch(name)
            if why:
                print(f"this Python was installed without test.{name}; from Debian: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
