"""A mypy plugin: what Amaranth makes at run time, which amaranth-stubs cannot say.

``i: In(8)`` in a component, or a dict of members given to its constructor, become attributes of the object;
``Signal(layout)`` is a view with the layout's fields. Both have the type Any here, so that what is done with
them is not checked, but the rest of a component is.
"""

from mypy.plugin import ClassDefContext, FunctionContext, MethodSigContext, Plugin
from mypy.types import AnyType, FunctionLike, Instance, NoneType, Type, TypeOfAny, get_proper_type

COMPONENT = "amaranth.lib.wiring.Component"
SIGNAL = "amaranth.hdl._ast.Signal"
MEMBER = "amaranth.lib.wiring.Flow.__call__"


def members_from_signature(context: ClassDefContext) -> None:
    """A name that a component's class does not define is a member of its signature."""
    context.cls.info.fallback_to_any = True


def signal_or_view(context: FunctionContext) -> Type:
    """A Signal if its shape is a number or left out, and a view, of any type, otherwise."""
    for shape in context.arg_types[0] if context.arg_types else []:
        proper = get_proper_type(shape)
        number = isinstance(proper, Instance) and proper.type.fullname in ("builtins.int", "builtins.bool")
        if not number and not isinstance(proper, NoneType):
            return AnyType(TypeOfAny.special_form)
    return context.default_return_type


def member_with_init(context: MethodSigContext) -> FunctionLike:
    """``In(shape, init=..)``, which the stubs still call ``reset``."""
    signature = context.default_signature
    return signature.copy_modified(
        arg_names=["init" if name == "reset" else name for name in signature.arg_names]
    )


class AmaranthPlugin(Plugin):
    """Hands mypy the functions above."""

    def get_base_class_hook(self, fullname):
        return members_from_signature if fullname == COMPONENT else None

    def get_function_hook(self, fullname):
        return signal_or_view if fullname == SIGNAL else None

    def get_method_signature_hook(self, fullname):
        return member_with_init if fullname == MEMBER else None


def plugin(version):
    """What mypy calls."""
    return AmaranthPlugin
