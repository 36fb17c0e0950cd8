"""Tables and figures as markup; what is handed in is markup already."""

from collections.abc import Sequence


def figure(chart: str, caption: str) -> str:
    """A chart with its caption."""
    return f"<figure>{chart}<figcaption>{caption}</figcaption></figure>"


def table(
    heads: Sequence[str], rows: Sequence[str], caption: str, *, text: Sequence[int] = ()
) -> str:
    """A table that scrolls within itself; columns numbered in ``text`` hold words."""
    top = "".join(
        f'<th scope="col"{" class=text" if index in text else ""}>{name}</th>'
        for index, name in enumerate(heads)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    said = f"<caption>{caption}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0"><table>{said}<thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
