"""What went wrong with one image, as the exception every step of the download raises."""

from __future__ import annotations

MAX_DETAIL = 200


class Failure(Exception):
    """An image that cannot be had.

    Args:
        reason: a key of `config.REASONS`, or `http_` and the status.
        detail: for people; cut to 200 characters.
        passing: whether another try could help.
        retry_after: seconds the server asked to wait, if it did.
    """

    def __init__(self, reason: str, detail: str = "", passing: bool = False, retry_after: float | None = None):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = " ".join(detail.split())[:MAX_DETAIL]
        self.passing = passing
        self.retry_after = retry_after
