"""Conversion of samples: the one filter chain for sources, anchors and a person's own encodes.

Frames become 8-bit 4:2:0, BT.709 matrix, limited range. Samples of more than 8 bits are rounded;
swscale would dither them unless told not to, which costs a source and a codec with 10-bit samples.
"""

from evocodec.video.declared import Probe

_FLAGS = "sws_dither=none:flags=area+accurate_rnd+full_chroma_int+bitexact"


def conversion(
    declared: Probe, *, size: tuple[int, int] | None = None, stated: bool = False
) -> str:
    """Return the filters that convert what ``declared`` says, scaled to ``size``.

    ``stated``: the file itself does not say what ``declared`` does (raw video, Y4M by parts), so
    that the scaler has to be told. What nobody declares is taken as it is: limited range, BT.709.
    """
    end = "format=yuv420p"
    if size is None and declared.is_native:
        return end
    sized = "" if size is None else f"w={size[0]}:h={size[1]}:"
    if declared.is_grey:
        return _grey(declared, sized, end)
    known = "" if declared.matrix else "in_color_matrix=bt709:"
    told = f"in_range={declared.colour_range}:" if stated and declared.colour_range else ""
    return f"scale={sized}{told}{known}out_color_matrix=bt709:out_range=tv:{_FLAGS},{end}"


def _grey(declared: Probe, sized: str, end: str) -> str:
    """Convert luma alone, whose range swscale cannot be told: for it all grey is full range.

    Grey of limited range therefore goes through as full range, unchanged, and is renamed after.
    """
    out_range = "tv" if declared.colour_range == "pc" else "pc"
    scale = f"scale={sized}out_color_matrix=bt709:out_range={out_range}:{_FLAGS}"
    return f"{scale},{end},setparams=range=tv:colorspace=bt709"
