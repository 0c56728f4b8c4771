"""Components of the hardware that are asked for their latencies, and never elaborated."""

from typing import Any

from amaranth.lib.wiring import SignatureMembers

__all__ = ["asked"]


def asked(kind, *arguments, **options):
    """A component of the class ``kind`` without its ports, whose signals take most of the time of making
    one. Amaranth is told that nobody forgot to use it."""
    members: Any = SignatureMembers
    create = members.create
    members.create = lambda self, **_: {}
    try:
        component = kind(*arguments, **options)
    finally:
        members.create = create
    component._MustUse__used = True
    return component
