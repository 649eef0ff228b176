"""What functions and classes consist of, for their fingerprints: code, and all that it reads."""

import builtins
import dis
import enum
import importlib.util
import sys
import sysconfig
import types
from collections.abc import Iterator
from functools import cache
from typing import Any


class UnkeyableError(TypeError):
    """Something that has no name, because what it depends on is not known.

    Parameters
    ----------
    what : str
    where : str, default=""
        Path to it from the object that a name was asked for.
    """

    def __init__(self, what: str, where: str = "") -> None:
        self.what = what
        self.where = where
        super().__init__(what, where)

    def inside(self, name: str) -> "UnkeyableError":
        """The same error, seen from one object further out."""
        gap = "" if self.where[:1] in ("", "[", ".") else "."
        return UnkeyableError(self.what, name + gap + self.where)

    def __str__(self) -> str:
        where = self.where.removeprefix("[0]").removeprefix(".") or "the object"
        return f"{where} is {self.what}, so that what depends on it has no name."


# --- libraries ------------------------------------------------------------------------------


@cache
def _library_folders() -> tuple[str, ...]:
    return tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})


def library_of(module_name: str | None) -> str | None:
    """The library that a module belongs to, with its version; None for the user's own."""
    top = (module_name or "").partition(".")[0]
    if top == "__main__":  # whatever runs it
        return None
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if top == "sklflat" or (file is None and top in sys.stdlib_module_names):
        return top
    if file is None or not file.startswith(_library_folders()):
        return None
    return f"{top} {getattr(module, '__version__', '')}"


def name_of(value: Any) -> str:
    """Module and qualified name of a class or function, as they say themselves."""
    return f"{value.__module__}.{value.__qualname__}"


def _is_librarys(value: Any) -> bool:
    """Whether a function or class is what a library has under its name."""
    if library_of(value.__module__) is None:
        return False
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return getattr(found, "__func__", found) is value


#: functions whose result no object that can be looked at determines
_READ_OUTSIDE = {
    "builtins": "eval exec compile open input globals locals __import__ breakpoint",
    "io": "open open_code",
    "_io": "open open_code",
    "importlib": "import_module reload",
    "torch.serialization": "load",
    "numpy": "load loadtxt genfromtxt fromfile memmap",
    "numpy.lib._npyio_impl": "load loadtxt genfromtxt",
    "time": "time time_ns perf_counter perf_counter_ns monotonic monotonic_ns process_time",
    "os": "getenv getcwd listdir getpid urandom",
    "posix": "getcwd listdir getpid urandom",
    "uuid": "uuid1 uuid4",
}


#: methods and functions of which the same is to be expected, by their names alone
_READING_NAMES = {
    *("read_text", "read_bytes", "read_csv", "read_parquet", "read_json", "read_pickle"),
    *("load_file", "from_file", "loadmat", "load_state_dict_from_url", "urlopen", "getenv"),
    *("utcnow", "today", "check_output", "Popen", "is_available", "get_num_threads"),
    *("token_bytes", "token_hex", "randbits", "iterdir", "listdir", "fromfile"),
}


def check_allowed(value: Any) -> None:
    """Raise if a function's result depends on more than its arguments."""
    module = getattr(value, "__module__", None) or ""
    if getattr(value, "__name__", "") in _READ_OUTSIDE.get(module, "").split():
        raise UnkeyableError(f"{module}.{value.__name__}, which reads what no object holds")


# --- contents -------------------------------------------------------------------------------


def contents(value: Any) -> dict[str, Any]:
    """What a function or a class consists of, by names."""
    check_allowed(value)
    if _is_librarys(value):
        own = vars(value) if isinstance(value, type) else {}
        patched = {k: v for k, v in own.items() if _is_users(v)}
        return {"library": library_of(value.__module__), "patched": patched}
    return _class(value) if isinstance(value, type) else _function(value)


def _is_users(value: Any) -> bool:
    """Whether a function is of the user's own code."""
    namespace = getattr(getattr(value, "__func__", value), "__globals__", None)
    return namespace is not None and library_of(namespace.get("__name__")) is None


def _function(value: types.FunctionType) -> dict[str, Any]:
    closure = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    own = {
        "code": value.__code__,
        "defaults": value.__defaults__,
        "keyword defaults": value.__kwdefaults__,
        "closure": {name: _cell(cell) for name, cell in closure},
        "attributes": {name: v for name, v in vars(value).items() if name != "__wrapped__"},
    }
    library = library_of(value.__globals__.get("__name__"))
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
    *("__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__", "__slots__"),
    *("__firstlineno__", "__static_attributes__", "__annotate__", "__annotate_func__"),
    *("__match_args__", "__dataclass_params__", "__conditional_annotations__"),
    "_autograd_function_id",  # torch's count of all such classes
}


def _class(value: type) -> dict[str, Any]:
    own = {name: v for name, v in vars(value).items() if name not in _NOTES}
    more: dict[str, Any] = {}
    if isinstance(value, enum.EnumMeta):
        more["members"] = [(m.name, m._value_) for m in value]  # type: ignore[var-annotated]
        kinds = (types.FunctionType, property, staticmethod, classmethod)
        own = {k: v for k, v in own.items() if isinstance(v, kinds)}
    if "__dataclass_fields__" in own:
        more["fields"] = [
            (f.name, f.default, f.default_factory, f.init, f.metadata)
            for f in own.pop("__dataclass_fields__").values()
        ]
    slots = vars(value).get("__slots__", ())
    return {
        "bases": list(value.__bases__),
        "kind": type(value),
        "slots": list(slots),
        "annotations": dict(vars(value).get("__annotations__", {})),
        "attributes": own,
        **more,
    }


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
        outside = _READING_NAMES & set(part.co_names)
        if outside:
            what = f"code that calls {min(outside)!r}, which reads what no object holds"
            raise UnkeyableError(what)
        reader = _Reader(namespace, found)
        for instruction in dis.get_instructions(part):
            reader.see(instruction)
        reader.flush()
    return found


#: instructions that change nothing about what was loaded last
_PASSED = {"CACHE", "EXTENDED_ARG", "NOP", "PUSH_NULL", "PRECALL", "RESUME", "COPY_FREE_VARS"}
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS"}
_MISSING = "no such global"


class _Reader:
    """Follows modules through instructions that load a name and then attributes of it."""

    def __init__(self, namespace: dict[str, Any], found: dict[str, Any]) -> None:
        self.namespace = namespace
        self.found = found
        self.path = ""
        self.module: types.ModuleType | None = None
        self.imported = False
        self.constants: list[Any] = []

    def see(self, instruction: dis.Instruction) -> None:
        """Take note of one instruction."""
        name, value = instruction.opname, instruction.argval
        if name in _PASSED:
            return
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
        self.flush()
        if name in _LOADS:
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
        return [module.__name__, library]
    own = {k: v for k, v in vars(module).items() if not (k.startswith("__") and k.endswith("__"))}
    return [module.__name__, own]
