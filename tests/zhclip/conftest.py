"""Fixtures of the command line's tests."""

from tests.zhclip.shop import shop, sold

__all__ = ["shop", "sold"]
