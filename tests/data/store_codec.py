"""The simplest codec: planes as they are. Tests put faults into it by replacing its lines."""

import numpy as np

from evocodec.codec.contract import Frame


def encode(frames, stream, qp):
    for frame in frames:
        yield b"".join(plane.tobytes() for plane in frame)


def decode(packets, stream):
    luma = stream.width * stream.height
    chroma = stream.chroma_width * stream.chroma_height
    small = (stream.chroma_height, stream.chroma_width)
    for packet in packets:
        flat = np.frombuffer(packet, np.uint8)
        yield Frame(
            flat[:luma].reshape(stream.height, stream.width),
            flat[luma : luma + chroma].reshape(small),
            flat[luma + chroma :].reshape(small),
        )
