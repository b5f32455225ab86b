"""A mypy plugin for fastcore's `@patch`: methods that a module adds to its own classes later on are known to mypy."""

from mypy.nodes import MDEF, Decorator, FuncDef, NameExpr, SymbolTableNode, Var
from mypy.plugin import Plugin
from mypy.types import AnyType, TypeOfAny, UnboundType


def _owner(function: FuncDef):
    "The name of the class that a patched function is for: the annotation of its first argument."
    annotation = function.unanalyzed_type and function.unanalyzed_type.arg_types[:1]
    first = annotation[0] if annotation else None
    return first.name if isinstance(first, UnboundType) else None


def _add_patched(context):
    "Add to a class what its module patches into it; only the bodies are checked, not the calls."
    for node in context.api.cur_mod_node.defs:
        if not isinstance(node, Decorator) or _owner(node.func) != context.cls.name:
            continue
        if any(isinstance(d, NameExpr) and d.name == "patch" for d in node.original_decorators):
            method = Var(node.func.name, AnyType(TypeOfAny.explicit))
            method.info, method.is_ready = context.cls.info, True
            context.cls.info.names[node.func.name] = SymbolTableNode(MDEF, method)


class PatchPlugin(Plugin):
    "Knows the methods that fastcore's `@patch` adds."

    def get_customize_class_mro_hook(self, fullname):
        return _add_patched if fullname.startswith("clfnb.") else None


def plugin(version):
    return PatchPlugin
