"""Numbers as people read them, and the templates of pages."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def templates(package: str) -> Environment:
    """The templates of a package: everything is escaped, and a name that is not there is an error."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def count(number: float | None) -> str:
    """1,234,567; a dash for nothing known."""
    return "–" if number is None else f"{number:,.0f}"


def share(part: float, total: float = 1) -> str:
    """12.3%; small shares that are not zero stay visible."""
    if not total:
        return "–"
    fraction = part / total
    return "<0.1%" if 0 < fraction < 0.0005 else ">99.9%" if 0.9995 <= fraction < 1 else f"{fraction:.1%}"


def size(number: float | None) -> str:
    """Bytes for people, in powers of 1024."""
    if number is None:
        return "–"
    rest = float(number)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if rest < 1024 or unit == "TiB":
            return f"{rest:,.0f} {unit}" if unit == "B" or rest >= 100 else f"{rest:,.1f} {unit}"
        rest /= 1024
    raise AssertionError


def hours(seconds: float | None) -> str:
    """A time for people: 12 s, 3 min 20 s, 5 h 12 min."""
    if seconds is None:
        return "not noted"
    rounded = round(seconds)
    if rounded < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rounded} s"
    return (
        f"{rounded // 60} min {rounded % 60} s"
        if rounded < 3600
        else f"{rounded // 3600:,} h {rounded % 3600 // 60} min"
    )
