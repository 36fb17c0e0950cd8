"""Programs that do the same as one another, or nearly."""

PROGRAM = '''"""A codec."""
STEP = 8

def encode(frames, stream, qp):
    """Encode."""
    for frame in frames:
        plane = frame.y // STEP  # coarse
        yield plane.tobytes()
'''

SAME = {
    "comments": PROGRAM.replace("  # coarse", ""),
    "formatting": PROGRAM.replace("frame.y // STEP", "(frame.y//STEP)"),
    "docstrings": PROGRAM.replace('"""A codec."""\n', "").replace('    """Encode."""\n', ""),
    "names of local variables": PROGRAM.replace("plane", "quantised"),
    "annotations": PROGRAM.replace("STEP = 8", "STEP = 8\n").replace("qp)", "qp: float) -> object"),
}  # fmt: skip
OTHER = {
    "constants": PROGRAM.replace("STEP = 8", "STEP = 16"),
    "operators": PROGRAM.replace("//", "%"),
    "attributes": PROGRAM.replace("frame.y", "frame.u"),
    "names of functions": PROGRAM.replace("def encode", "def encode_all"),
    "a statement more": PROGRAM + "    yield b''\n",
}
