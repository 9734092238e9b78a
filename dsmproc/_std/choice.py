"""The classes that mean the cluster's objects or the standard library's, chosen at each call.

A class of ours names the standard one as `_standard` and is derived from it. Then

 1. calling it makes an object of ours on a cluster, else the standard library's object itself; a
    context that is given (`ctx=`, `context=`) decides;
 2. every object of the standard class is an instance of it, and every derived class a subclass;
 3. what a program derives from it while there is no cluster is derived from the standard class.
"""

from __future__ import annotations

import inspect
import os
import types
from multiprocessing import process
from typing import Any

from .. import _membership

__all__ = ["Choosing", "methods_are_cluster", "named", "named_method", "on_cluster"]


class _Named:
    """What `set_start_method` said under a cluster."""

    method: str | None = None  # a standard start method


named = _Named()


def named_method() -> str | None:
    """The standard start method that is chosen under a cluster, here or where we were started."""
    return named.method or (_inherited_method() if methods_are_cluster() else None)


def _inherited_method() -> str | None:
    """The standard start method by whose name this process was started on the cluster."""
    return getattr(process.current_process(), "_start_method", None)


def methods_are_cluster() -> bool:
    """Whether the standard start methods mean the cluster."""
    return os.environ.get("DSMPROC_METHODS") == "cluster"


def on_cluster(ctx: Any = None) -> bool:
    """Whether what is made for this context (None: the default one) belongs to the cluster."""
    if ctx is None:
        return _membership.active() and (named_method() is None or methods_are_cluster())
    ask = getattr(type(ctx), "_dsmproc_on_cluster", None)  # of a class of ours; a mock has any
    return ask is not None and bool(ask(ctx))


class Choosing(type):
    """The metaclass of these classes."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        if "_standard" in namespace or _membership.active():
            return super().__new__(mcs, name, bases, namespace, **options)
        standard = tuple(vars(base).get("_standard", base) for base in bases)
        if any(isinstance(base, Choosing) for base in standard):  # derived on a cluster, now gone
            return super().__new__(mcs, name, bases, namespace, **options)
        return types.new_class(name, standard, options, lambda body: body.update(namespace))

    def __call__(cls, *args: Any, **keywords: Any) -> Any:
        own = vars(cls)
        if "_standard" in own and not on_cluster(cls._context_of(args, keywords)):
            return own.get("_make_standard", own["_standard"])(*args, **keywords)
        return super().__call__(*args, **keywords)

    @property
    def __signature__(cls) -> inspect.Signature:
        """Of a call: that of __init__, not of the metaclass's __call__."""
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def _context_of(cls, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """The context among the arguments of a call; positional ones by `_context_at`."""
        position = getattr(cls, "_context_at", None)
        if position is not None and len(args) > position:
            return args[position]
        return keywords.get("ctx", keywords.get("context"))

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, vars(cls).get("_standard", ())) or super().__instancecheck__(
            instance
        )

    def __subclasscheck__(cls, derived: type) -> bool:
        return issubclass(derived, vars(cls).get("_standard", ())) or super().__subclasscheck__(
            derived
        )
