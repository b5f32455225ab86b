"""A mypy plugin for fastcore's `@patch`: mypy knows the methods that a module adds to its own classes afterwards."""

from mypy.nodes import MDEF, CallExpr, Decorator, NameExpr, SymbolTableNode, Var
from mypy.plugin import Plugin
from mypy.types import AnyType, TypeOfAny, UnboundType


def _patch_call(node):
    "The `patch` of a decorated function: its name, or the call with arguments; None where there is none."
    for decorator in node.original_decorators:
        name = decorator.callee if isinstance(decorator, CallExpr) else decorator
        if isinstance(name, NameExpr) and name.name == "patch":
            return decorator
    return None


def _add_patched(context):
    "Add to a class what its module patches into it. Bodies are checked; calls from elsewhere are not."
    for node in context.api.cur_mod_node.defs:
        patch = _patch_call(node) if isinstance(node, Decorator) else None
        annotations = node.func.unanalyzed_type.arg_types if patch and node.func.type else []
        first = annotations[0] if annotations else None
        if not isinstance(first, UnboundType) or first.name != context.cls.name:
            continue
        if isinstance(patch, CallExpr):  # cls_method=True: the first argument is the class itself
            annotations[0] = node.func.type.arg_types[0] = AnyType(TypeOfAny.explicit)
        method = Var(node.func.name, AnyType(TypeOfAny.explicit))
        method.info, method.is_ready = context.cls.info, True
        context.cls.info.names[node.func.name] = SymbolTableNode(MDEF, method)


class PatchPlugin(Plugin):
    "Knows the methods that fastcore's `@patch` adds."

    def get_customize_class_mro_hook(self, fullname):
        return _add_patched if fullname.startswith("clfnb.") else None


def plugin(version):
    return PatchPlugin
