"""Rules of the static gate: what is refused, under which rule, and what to write instead.

Dotted paths start at an imported library, whatever name the program gave it. The gate explains and
saves time; the isolation layers of the kernel are what keeps a program in.
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

FORBIDDEN_BUILTINS = frozenset(
    {
        "eval", "exec", "compile", "open", "globals", "locals", "vars", "input", "breakpoint",
        "help", "exit", "quit", "copyright", "credits", "license", "dir",
    }
)  # fmt: skip
ATTRIBUTE_BUILTINS = frozenset({"getattr", "setattr", "delattr", "hasattr"})

# Attributes refused on whatever object they are asked for.
ANYWHERE: dict[str, Rule] = {
    **dict.fromkeys(
        ("ctypes", "ctypeslib", "cpp_extension", "LowLevelCallable", "data_as"), NATIVE
    ),
    **dict.fromkeys(
        ("sys", "os", "builtins", "bltns", "importlib", "subprocess", "socket", "posix", "shutil"),
        HOST,
    ),
    **dict.fromkeys(
        (
            "fromfile", "tofile", "memmap", "open_memmap", "savez", "savez_compressed", "loadtxt",
            "savetxt", "genfromtxt", "from_file", "save_image", "FileStorage", "fromregex",
        ),
        FILES,
    ),
    **dict.fromkeys(("pickle", "cPickle", "marshal", "get_type_hints", "ForwardRef"), PICKLE),
    **dict.fromkeys(
        (
            "gi_frame", "gi_code", "gi_yieldfrom", "cr_frame", "cr_code", "ag_frame", "ag_code",
            "tb_frame", "tb_next", "f_back", "f_builtins", "f_code", "f_globals", "f_locals",
            "func_globals", "func_code", "co_code", "co_consts", "mro",
        ),
        DUNDER,
    ),
    **dict.fromkeys(
        ("JPEG", "jpeg", "encode_jpeg", "decode_jpeg", "encode_png", "decode_png", "decode_image",
         "decode_webp", "decode_gif", "decode_avif", "decode_heic", "read_video", "write_video"),
        CODEC,
    ),
}  # fmt: skip
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
# Of the above, real public names of one library.
EXCEPTIONS = frozenset({"cv2.typing", "torch.types", "numba.types", "math.e", "re.compile"})

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
    "cv2.cuda.createVideoReader": CODEC,
    "cv2.cuda.createVideoWriter": CODEC,
}
# Modules of which only these names may be used.
ONLY: dict[str, frozenset[str]] = {
    "io": frozenset({"BytesIO", "StringIO"}),
    "bz2": frozenset({"compress", "decompress", "BZ2Compressor", "BZ2Decompressor"}),
    "lzma": frozenset(
        {
            "compress", "decompress", "LZMACompressor", "LZMADecompressor", "LZMAError",
            "FORMAT_RAW", "FORMAT_XZ", "FORMAT_ALONE", "FILTER_LZMA1", "FILTER_LZMA2",
            "FILTER_DELTA", "CHECK_NONE", "CHECK_CRC32", "PRESET_DEFAULT", "PRESET_EXTREME",
            "MODE_FAST", "MODE_NORMAL", "MF_BT2", "MF_BT3", "MF_BT4", "MF_HC3", "MF_HC4",
        }
    ),
    "numpy.lib": frozenset({"stride_tricks", "scimath", "array_utils", "mixins"}),
    "evocodec": frozenset({"codec"}),
    "evocodec.codec": frozenset({"contract"}),
}  # fmt: skip
# Attributes of libraries that programs do set.
SETTABLE = ("torch.backends.",)

SAFE_DUNDER_NAMES = frozenset({"__name__", "__debug__", "__annotations__", "__doc__"})
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
