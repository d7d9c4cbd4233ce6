"""How plots look: colours that colour-blind readers tell apart, and fonts with Chinese characters."""

from __future__ import annotations

from matplotlib.font_manager import fontManager

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4d4d4d")

# The first ones that are installed draw Chinese names of sets, where there are any.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "SimHei",
)


def fonts() -> list[str]:
    """Those of FONTS that are installed."""
    available = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in available]
