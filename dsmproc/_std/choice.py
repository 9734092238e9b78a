"""The classes that mean the cluster's objects or the standard library's, chosen at each call.

A class of ours names the standard one as `_standard` and is derived from it. Then

 1. calling it makes an object of ours on a cluster, else the standard library's object itself; a
    context that is given (`ctx=`, `context=`) decides;
 2. every object of the standard class is an instance of it, and every derived class a subclass;
 3. what a program derives from it while there is no cluster is derived from the standard class.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

from .. import cluster

__all__ = ["Choosing", "on_cluster"]


def on_cluster(ctx: Any = None) -> bool:
    """Whether what is made for this context (None: the default one) belongs to the cluster."""
    from ..context import ClusterContext, DefaultContext, chosen_context

    if ctx is None or isinstance(ctx, DefaultContext):
        if not cluster.active():
            return False
        ctx = chosen_context()
    return isinstance(ctx, ClusterContext)


class Choosing(type):
    """The metaclass of these classes."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        if "_standard" in namespace or cluster.active():
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
