"""What functions and classes consist of, for their fingerprints: code, and all that it reads."""

import abc
import builtins
import dis
import enum
import functools
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

from sklflat.storage import outside
from sklflat.storage.libraries import is_librarys, is_users, library_of
from sklflat.storage.outside import UnkeyableError

# --- contents -------------------------------------------------------------------------------


def contents(value: Any) -> dict[str, Any]:
    """What a function or a class consists of, by names."""
    outside.check_allowed(value)
    if is_librarys(value):
        of_class = _patches(value) if isinstance(value, type) else {}
        return {"library": library_of(value.__module__), **of_class}
    return _class(value) if isinstance(value, type) else _function(value)


def _patches(value: type) -> dict[str, Any]:
    """What a user may have put into a library's class, and into those that it extends."""
    own = vars(value).items()
    found: dict[str, Any] = {"patched": {k: v for k, v in own if is_users(v)}}
    if not value.__module__.startswith("sklflat."):
        numbers = {k: v for k, v in own if type(v) in (bool, int, float) and k[:2] != "__"}
        found |= {"numbers": numbers, "bases": [b for b in value.__bases__ if b is not object]}
    return found


def _function(value: types.FunctionType) -> dict[str, Any]:
    own_attributes = vars(value)
    if "_torchdynamo_orig_callable" in own_attributes:
        raise UnkeyableError("a function that torch.compile has made; what it compiles can be kept")
    library = library_of(value.__globals__.get("__name__"))
    if value.__globals__ is vars(functools) and "registry" in own_attributes:  # singledispatch
        return {"library": library, "registry": list(own_attributes["registry"].items())}
    closure = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    own = {
        "code": value.__code__,
        "defaults": value.__defaults__,
        "keyword defaults": value.__kwdefaults__,
        "closure": {name: _cell(cell) for name, cell in closure},
        "attributes": own_attributes,
    }
    if library is not None:  # made by a library around something of the user's
        return {"library": library, **own}
    return {**own, "reads": read_by(value.__code__, value.__globals__)}


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


#: what Python and abc note in a class of their own accord
_NOTES = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__qualname__"),
    *("__abstractmethods__", "_abc_impl", "__parameters__", "__slots__", "__dataclass_params__"),
    *("__firstlineno__", "__static_attributes__", "__annotate__", "__annotate_func__"),
    "__conditional_annotations__",
    "_autograd_function_id",  # torch's count of all such classes
}


def _class(value: type) -> dict[str, Any]:
    own = {name: v for name, v in vars(value).items() if name not in _NOTES}
    more: dict[str, Any] = {}
    if isinstance(value, enum.EnumMeta):
        members: dict[str, Any] = dict(
            value.__members__
        )  # with those that have another name as well
        more["members"] = members
        own = {k: v for k, v in own.items() if k not in members and _is_of_enum(k, v)}
    if "__dataclass_fields__" in own:
        more["fields"] = [
            (f.name, f.default, f.default_factory, f.init, f.metadata)
            for f in own.pop("__dataclass_fields__").values()
        ]
    if isinstance(value, abc.ABCMeta):  # what it takes for its subclasses
        registered = abc._get_dump(value)[0]  # type: ignore[attr-defined]
        more["registered"] = {found for ref in registered if (found := ref()) is not None}
    slots = vars(value).get("__slots__", ())
    return {
        "bases": list(value.__bases__),
        "kind": type(value),
        "slots": list(slots),
        "annotations": dict(vars(value).get("__annotations__", {})),
        "attributes": own,
        **more,
    }


#: what enum notes in each of its classes
_ENUM_NOTES = {*vars(enum.Enum("_", [])), *vars(enum.Flag("_", []))} | {"_flag_mask_"}


def _is_of_enum(name: str, value: Any) -> bool:
    """Whether an attribute of an enumeration is the user's."""
    return name not in _ENUM_NOTES or is_users(value)


def with_inner(code: types.CodeType) -> Iterator[types.CodeType]:
    """Code, and that of all functions inside of it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from with_inner(const)


def of_code(code: types.CodeType) -> list[Any]:
    """Byte code, constants and names, without file and line."""
    consts = [of_code(c) if isinstance(c, types.CodeType) else c for c in code.co_consts]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return [code.co_code, getattr(code, "co_exceptiontable", b""), counts, names, consts]


# --- what code reads --------------------------------------------------------------------------


def read_by(code: types.CodeType, namespace: dict[str, Any]) -> dict[str, Any]:
    """Names and values of the globals that code reads, and of the attributes of modules.

    A module whose attributes are read one by one counts by these, any other use of it by all that
    it holds. What is imported inside is read as well.
    """
    found: dict[str, Any] = {}
    for part in with_inner(code):
        outside.check_texts(part)
        reader = _Reader(part, namespace, found)
        for instruction in dis.get_instructions(part):
            reader.see(instruction)
        reader.flush()
    return found


#: instructions that change nothing about what was loaded last
_PASSED = {"CACHE", "EXTENDED_ARG", "NOP", "PUSH_NULL", "PRECALL", "RESUME", "COPY_FREE_VARS"}
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS"}
#: instructions by which names are used; class bodies load some that Python has put there
_USES = {"LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"}
_MISSING = "no such global"


class _Reader:
    """Follows modules through instructions that load a name and then attributes of it."""

    def __init__(
        self, code: types.CodeType, namespace: dict[str, Any], found: dict[str, Any]
    ) -> None:
        self.code = code
        self.namespace = namespace
        self.found = found
        self.path = ""
        self.module: types.ModuleType | None = None
        self.imported = False
        self.locals: dict[str, tuple[str, types.ModuleType]] = {}
        self.constants: list[Any] = []

    def see(self, instruction: dis.Instruction) -> None:
        """Take note of one instruction."""
        name, value = instruction.opname, instruction.argval
        if name in _PASSED:
            return
        if name in _USES:
            outside.check_name(value)
        if name == "LOAD_CONST":
            self.constants = [*self.constants[-1:], value]
        if name in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM") and self.module is not None:
            self.attribute(value, keep=name == "IMPORT_FROM")
            return
        if self.module is not None and self.imported:  # from ... import ..., to its end
            if name == "POP_TOP":
                self.module = None
            if name == "POP_TOP" or name.startswith("STORE_"):
                return
        if name == "STORE_FAST" and self.module is not None and value not in self.locals:
            self.locals[value] = self.path, self.module
            self.module = None
        self.flush()
        if name in ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW") and value in self.locals:
            (self.path, self.module), self.imported = self.locals[value], False
        elif name in _LOADS:
            self.load(value)
        elif name == "IMPORT_NAME":
            self.load_module(value)

    def attribute(self, name: str, keep: bool) -> None:
        """An attribute of the module that was loaded last."""
        assert self.module is not None
        module, path = self.module, f"{self.path}.{name}"
        value = getattr(module, name, _MISSING)
        if value is _MISSING:
            raise UnkeyableError(f"a name of {module.__name__} that is not there yet", path)
        if isinstance(value, types.ModuleType) and not keep:
            self.module, self.path = value, path
            return
        self.found[path] = value
        if not keep:
            self.module = None

    def load(self, name: str) -> None:
        """A global name, or a built-in one."""
        if name not in self.namespace and outside.is_own_use(name, self.code):
            return
        value = self.namespace.get(name, getattr(builtins, name, _MISSING))
        if isinstance(value, types.ModuleType):
            self.module, self.path, self.imported = value, name, False
        else:
            self.found[name] = value

    def load_module(self, name: str) -> None:
        """A module that is imported inside of a function."""
        level, names = (*self.constants, 0, None)[:2] if len(self.constants) == 2 else (0, None)
        package = self.namespace.get("__package__") or ""
        full = importlib.util.resolve_name("." * level + name, package) if level else name
        module = sys.modules.get(full if names else full.partition(".")[0])
        if module is None or full not in sys.modules:
            raise UnkeyableError(f"an import of {full!r}, which is not there yet")
        self.module, self.path, self.imported = module, full, bool(names)

    def flush(self) -> None:
        """A module that is used otherwise than by its attributes counts as a whole."""
        if self.module is not None:
            self.found[self.path] = self.module
        self.module = None


def module_contents(module: types.ModuleType) -> Any:
    """A library's name, or all that a module of the user's holds."""
    library = library_of(module.__name__)
    if library is not None:
        outside.check_module(module)
        return [module.__name__, library]
    own = {k: v for k, v in vars(module).items() if k not in _MODULE_NOTES}
    return [module.__name__, {k: _name_of_librarys(v) for k, v in own.items()}]


def _name_of_librarys(value: Any) -> Any:
    """In place of a library that a module imports, its name: it is not said to be used."""
    is_module = isinstance(value, types.ModuleType)
    library = library_of(value.__name__) if is_module else None
    return value if library is None else [value.__name__, library]


#: what Python notes in a module
_MODULE_NOTES = {
    *("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__file__", "__cached__"),
    *("__builtins__", "__path__", "__annotations__", "__warningregistry__"),
}
