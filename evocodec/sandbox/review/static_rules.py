"""Rules of the static gate: what is refused, under which rule, and what to write instead.

What programs may use of each library stands in ``libraries/``; the tables here are about builtins
and objects of unknown type, and say why a name of a library is refused. Dotted paths start at an
imported library, whatever name the program gave it. The gate explains and saves time; the isolation
layers of the kernel are what keeps a program in.
"""

import re
from typing import NamedTuple

from evocodec.domain.vocabulary import GateRule


class Rule(NamedTuple):
    """A rule's name and its advice to the author."""

    name: GateRule
    advice: str


CODEC = Rule(
    GateRule.LIBRARY_CODEC, "calls an existing codec; transform, quantise and entropy-code yourself"
)
FILES = Rule(
    GateRule.FILE_ACCESS, "reads or writes files, and there are none; keep everything in memory"
)
NATIVE = Rule(
    GateRule.NATIVE_CODE, "reaches native code or compilers; use numpy, numba.njit or torch"
)
PICKLE = Rule(
    GateRule.UNSAFE_LOADING, "unpickles or evaluates text; use struct, np.frombuffer, literals"
)
HOST = Rule(
    GateRule.HOST_MODULE, "leads out of the library into the host; import only what is allowed"
)
PRIVATE = Rule(GateRule.PRIVATE, "is private to the library; use its public functions")
DUNDER = Rule(
    GateRule.DUNDER, "reaches into the interpreter; use ordinary attributes and operators"
)
BUILTIN = Rule(GateRule.BUILTIN, "is not available to programs; write the operation out")
PROCESSES = Rule(GateRule.PROCESSES, "starts processes or talks to others; stay in this one")
UNLISTED = Rule(
    GateRule.UNLISTED_NAME, "is not among the names that programs may use; write the operation out"
)
_ADVICE = {
    rule.name: rule.advice
    for rule in (CODEC, FILES, NATIVE, PICKLE, HOST, PRIVATE, DUNDER, BUILTIN, PROCESSES, UNLISTED)
}
FORMAT_ADVICE = (
    "format reads attributes of what it prints; write an f-string, or .format on a plain text "
    "without dots and brackets in its fields"
)
MOST_PARTS = 8
"""Parts of a dotted import that are looked at; no library nests deeper."""


def advice_of(rule: GateRule) -> str:
    """What is wrong with a name that a list leaves out under a rule, and what to do instead."""
    return _ADVICE[rule]


FORBIDDEN_BUILTINS = frozenset(
    {
        "eval", "exec", "compile", "open", "globals", "locals", "vars", "input", "breakpoint",
        "help", "exit", "quit", "copyright", "credits", "license", "dir",
    }
)  # fmt: skip
ATTRIBUTE_BUILTINS = frozenset({"getattr", "setattr", "delattr", "hasattr"})
GUARDED_BUILTINS = FORBIDDEN_BUILTINS | ATTRIBUTE_BUILTINS | {"type"}

# Attributes refused on whatever object they are asked for.
ANYWHERE: dict[str, Rule] = {
    **dict.fromkeys(
        ("ctypes", "ctypeslib", "cpp_extension", "LowLevelCallable", "data_as", "cffi", "capsule",
         "targetctx", "typingctx", "targetdescr", "as_strided", "from_address"),
        NATIVE,
    ),
    **dict.fromkeys(
        ("sys", "os", "builtins", "bltns", "importlib", "subprocess", "socket", "posix", "shutil"),
        HOST,
    ),
    **dict.fromkeys(
        (
            "fromfile", "tofile", "memmap", "open_memmap", "savez", "savez_compressed", "loadtxt",
            "savetxt", "genfromtxt", "from_file", "save_image", "FileStorage", "fromregex",
            "readOpticalFlow", "writeOpticalFlow",
        ),
        FILES,
    ),
    **dict.fromkeys(
        ("pickle", "cPickle", "marshal", "get_type_hints", "ForwardRef", "read_array"), PICKLE
    ),
    **dict.fromkeys(("getCPUTickCount", "getTickCount", "getTickFrequency"), HOST),
    **dict.fromkeys(
        (
            "gi_frame", "gi_code", "gi_yieldfrom", "cr_frame", "cr_code", "ag_frame", "ag_code",
            "tb_frame", "tb_next", "f_back", "f_builtins", "f_code", "f_globals", "f_locals",
            "func_globals", "func_code", "co_code", "co_consts", "mro", "attrname", "get_field",
            "vformat", "format_map", "format_field", "attrgetter", "methodcaller",
        ),
        DUNDER,
    ),
    **dict.fromkeys(
        ("JPEG", "jpeg", "encode_jpeg", "decode_jpeg", "encode_png", "decode_png", "decode_image",
         "decode_webp", "decode_gif", "decode_avif", "decode_heic", "read_video", "write_video"),
        CODEC,
    ),
}  # fmt: skip
# The same, unless the program gives an attribute of that name to a class or object of its own.
OWN_ONLY: dict[str, Rule] = {
    **dict.fromkeys(("load", "save", "dump", "dumps"), FILES),
    "register": PICKLE,
}
# Private names that are documented; all others belong to the program's own objects.
SAFE_PRIVATE = frozenset(
    {
        "_", "_replace", "_asdict", "_fields", "_make", "_field_defaults", "_value_", "_name_",
        "_parameters", "_modules", "_buffers", "_num_batches_tracked",
    }
)  # fmt: skip
# OpenCV's codec functions have distinctive names, so they are refused on any object too.
CODEC_NAMES = re.compile(
    r"im(read|write|encode|decode|count)[A-Za-z]*|haveImage(Reader|Writer)"
    r"|Video(Capture|Writer)\w*|videoio_registry|cudacodec"
)

# What run time removes: module → names. The cv2 submodules are there for OpenCV's other layouts.
CODEC_FUNCTIONS = {
    **dict.fromkeys(("cv2", "cv2.cv2", "cv2._native"), CODEC_NAMES.pattern),
    "PIL._imaging": r"(?!raw_)\w+_(en|de)coder",
    "PIL.Image": r"open|preinit|init|register_(open|save|save_all|decoder|encoder)",
}
# Codecs written in Python: the modules are absent, and their files cannot be read.
CODEC_MODULES = re.compile(r"PIL\.(\w+ImagePlugin|GdImageFile|WalImageFile|JpegPresets)")
# Shared objects that hold only codecs: they cannot be read, and are unmapped where loaded.
CODEC_LIBRARIES = re.compile(
    r"lib(av(codec|format|util|device|filter|if)|sw(scale|resample)|postproc|x26[45]|vpx|aom|dav1d"
    r"|rav1e|gav1|SvtAv1\w*|vvenc|vvdec|kvazaar|openh264|theora\w*|xvidcore|schroedinger\S*|de265"
    r"|heif\w*|jxl\w*|jpeg|turbojpeg|nvjpeg\w*|openjp2|jasper|png\d*|tiff\w*|webp\w*|sharpyuv|gif"
    r"|nvcuvid|nvidia-encode|gstreamer\S*|vlc\w*|MagickCore\S*|vips\S*)(-[0-9a-f]+)?\.so"
)

# Attributes refused on libraries, at any depth below the imported name.
ON_LIBRARIES: dict[str, Rule] = {
    **dict.fromkeys(("load", "save", "open", "open_code", "dump", "dumps", "loads"), FILES),
    **dict.fromkeys(("eval", "exec", "compile", "getattr", "setattr", "attrgetter",
                     "methodcaller", "make_dataclass"), BUILTIN),
    **dict.fromkeys(
        (
            "np", "numpy", "io", "re", "gc", "code", "codecs", "inspect", "types", "warnings",
            "weakref", "pathlib", "tempfile", "platform", "threading", "traceback", "linecache",
            "tokenize", "ast", "mmap", "signal", "runpy", "pkgutil", "urllib", "glob", "copyreg",
            "keyword", "contextlib", "functools", "itertools", "operator", "collections",
        ),
        HOST,
    ),
    **dict.fromkeys(("multiprocessing", "distributed"), PROCESSES),
}  # fmt: skip

# Whole paths, and everything below them.
PATHS: dict[str, Rule] = {
    "torchvision.io": CODEC,
    "torchvision.datasets": FILES,
    "torch.hub": FILES,
    "torch.jit": NATIVE,
    "torch.ops": NATIVE,
    "torch.classes": NATIVE,
    "torch.library": NATIVE,
    "torch.package": PICKLE,
    "torch.serialization": PICKLE,
    "torch.onnx": FILES,
    "torch.export": FILES,
    "torch.fx": PICKLE,
    "torch.profiler": FILES,
    "torch.utils.model_zoo": FILES,
    "torch.utils.tensorboard": FILES,
    "torch.utils.data": PROCESSES,
    "scipy.io": FILES,
    "scipy.datasets": FILES,
    "numpy.testing": HOST,
    "numpy.f2py": NATIVE,
    "numpy.distutils": NATIVE,
    "numpy.core": PRIVATE,
    "numpy.rec": FILES,
    "numpy.lib.format": FILES,
    "numpy.lib.npyio": FILES,
    "numpy.DataSource": FILES,
    "numba.cfunc": NATIVE,
    "numba.objmode": NATIVE,
    "numba.core": NATIVE,
    "numba.extending": NATIVE,
    "numba.pycc": NATIVE,
    "numba.misc": NATIVE,
    "numba.carray": NATIVE,
    "numba.farray": NATIVE,
    "cv2.utils": HOST,
    "cv2.misc": HOST,
    "cv2.samples": FILES,
    "cv2.gapi": NATIVE,
    "cv2.dnn": FILES,
    "cv2.data": FILES,
    "cv2.load_config_py3": HOST,
    "cv2.FileNode": FILES,
    "cv2.imshow": FILES,
    "cv2.cuda": NATIVE,
    "cv2.ocl": NATIVE,
}
# Attributes of libraries that programs do set.
SETTABLE = ("torch.backends.",)

SAFE_DUNDER_NAMES = frozenset({"__name__", "__debug__", "__doc__"})
SAFE_DUNDER_ATTRIBUTES = frozenset({"__init__", "__name__", "__doc__", "__len__", "__version__"})
SAFE_DUNDER_TEXT = frozenset({"__main__", "__init__", "__name__", "__doc__"})
SAFE_DUNDER_METHODS = frozenset(
    {
        "__init__", "__post_init__", "__repr__", "__str__", "__len__", "__iter__", "__next__",
        "__getitem__", "__setitem__", "__delitem__", "__contains__", "__call__", "__bool__",
        "__hash__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__enter__",
        "__exit__", "__add__", "__radd__", "__iadd__", "__sub__", "__rsub__", "__mul__",
        "__rmul__", "__truediv__", "__floordiv__", "__mod__", "__pow__", "__neg__", "__abs__",
        "__and__", "__or__", "__xor__", "__lshift__", "__rshift__", "__invert__", "__int__",
        "__float__", "__index__", "__round__", "__reversed__", "__matmul__",
    }
)  # fmt: skip
SAFE_DUNDER_ASSIGNED = frozenset({"__all__", "__slots__", "__version__", "__author__"})
