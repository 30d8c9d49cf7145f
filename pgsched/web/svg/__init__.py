"""Pictures as SVG text. Pure: numbers in, markup out; colours and fonts come from the style sheet, by class."""

from __future__ import annotations

from markupsafe import Markup


def element(name: str, *inner: str, css: str = "", **attributes: str | float) -> Markup:
    """Return an element with its class and attributes: texts escaped, numbers short, hyphens for underscores."""
    given = {"class": css, **attributes} if css else attributes
    said = Markup("").join(
        Markup(' {}="{}"').format(key.replace("_", "-"), value if isinstance(value, str) else _short(value))
        for key, value in given.items()
    )
    if not inner:
        return Markup("<{}{}/>").format(name, said)
    return Markup("<{}{}>{}</{}>").format(name, said, Markup("").join(inner), name)


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
