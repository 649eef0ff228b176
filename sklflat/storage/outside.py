"""What no object determines: files, clocks, environment, frames, and code that reaches them."""

from types import CodeType, ModuleType
from typing import Any

from sklflat.storage.libraries import library_of


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


#: libraries that read or start what is outside of the process, or look into it, and what they have
#: beside that
_OUTSIDE: dict[str, str] = {
    **dict.fromkeys(("os", "posix", "nt"), "fspath fsencode fsdecode PathLike"),
    **dict.fromkeys(("io", "_io"), "BytesIO StringIO"),
    **{"time": "sleep struct_time", "random": "Random", "sys": "exit intern"},
    **dict.fromkeys(("subprocess", "socket", "glob", "tempfile", "shutil", "fileinput"), ""),
    **dict.fromkeys(("urllib", "http", "requests", "ftplib", "sqlite3", "shelve", "dbm"), ""),
    **dict.fromkeys(("mmap", "zipfile", "tarfile", "gzip", "bz2", "lzma", "linecache"), ""),
    **dict.fromkeys(("gc", "inspect", "ctypes", "_ctypes", "importlib", "pkgutil", "runpy"), ""),
    **dict.fromkeys(("pickle", "_pickle", "marshal", "getpass", "platform", "secrets", "uuid"), ""),
    **dict.fromkeys(("locale", "_locale", "resource", "psutil", "select", "signal", "joblib"), ""),
}

_OF_PATHS = (
    "exists lexists isfile isdir islink ismount getsize getmtime getatime getctime samefile "
    "abspath realpath expanduser expandvars relpath sameopenfile samestat"
)
_OF_THREADS = "get_ident get_native_id current_thread main_thread enumerate active_count"
#: functions of other modules of which the same holds
_READ_OUTSIDE = {
    "builtins": "eval exec compile open input globals locals __import__ breakpoint hash id",
    "codecs": "open",
    **dict.fromkeys(("genericpath", "posixpath", "ntpath"), _OF_PATHS),
    **dict.fromkeys(("_thread", "threading"), _OF_THREADS),
    "numpy": "load loadtxt genfromtxt fromfile fromregex memmap",
    "numpy.lib._npyio_impl": "load loadtxt genfromtxt fromregex",
    "torch.serialization": "load",
    "typing": "get_type_hints",
}

_WHOLLY_OUTSIDE = {"posixpath", "ntpath", "genericpath", "codecs", "_thread"}

#: built-in functions that make no difference in methods of some names
_OWN_USE = {("hash", "__hash__"), ("id", "__deepcopy__"), ("id", "__repr__")}

#: methods and functions that read what is outside, whatever they are of
_READING_NAMES = {
    *("open", "read_text", "read_bytes", "read_csv", "read_parquet", "read_json", "read_pickle"),
    *("read_table", "read_excel", "read_hdf", "read_feather", "read_sql", "read_image", "imread"),
    *("load_file", "from_file", "loadmat", "load_state_dict_from_url", "urlopen", "getenv"),
    *("safe_open", "open_memmap", "fromfile", "from_pretrained", "environ"),
    *("now", "utcnow", "today", "localtime", "check_output", "Popen"),
    *("is_available", "get_num_threads", "device_count", "cpu_count"),
    *("token_bytes", "token_hex", "randbits", "iterdir", "listdir", "scandir", "rglob"),
    *("isEnabledFor", "getEffectiveLevel"),
}

#: attributes by which code looks at code, or at what is no part of any object's contents
_INSPECTING_NAMES = {
    *("__globals__", "__builtins__", "__subclasses__", "__annotations__", "__doc__"),
    *("f_globals", "f_locals", "f_back", "f_code", "f_lineno", "gi_frame", "tb_frame", "cr_frame"),
    *("co_filename", "co_firstlineno", "_getframe", "__firstlineno__"),
}


def check_allowed(value: Any) -> None:
    """Raise if what a function or class gives depends on more than its arguments."""
    name, module = getattr(value, "__name__", None), getattr(value, "__module__", None)
    if type(name) is not str or type(module) is not str or library_of(module) is None:
        return
    harmless = _OUTSIDE.get(module.partition(".")[0])
    reads = harmless is not None and name not in harmless.split()
    if reads or name in _READ_OUTSIDE.get(module, "").split():
        raise UnkeyableError(f"{module}.{name}, which reads what no object holds")


def check_module(module: ModuleType) -> None:
    """Raise if a library's module is used otherwise than by attributes that can be seen."""
    name = module.__name__
    if name.partition(".")[0] in _OUTSIDE or name in _WHOLLY_OUTSIDE:
        raise UnkeyableError(f"the module {name}, which reads what no object holds")


def check_name(name: str) -> None:
    """Raise if code uses an attribute or a global of a name that reads what is outside."""
    if name in _READING_NAMES or name in _INSPECTING_NAMES:
        raise UnkeyableError(f"code that uses {name!r}, which reads what no object holds")


def check_texts(code: CodeType) -> None:
    """Raise if code has such a name as a text, as for ``getattr``."""
    for text in code.co_consts:
        if type(text) is str and text in _INSPECTING_NAMES:
            check_name(text)


def is_own_use(name: str, code: CodeType) -> bool:
    """Whether code may call a built-in function because of what it is for."""
    return (name, code.co_name) in _OWN_USE
