"""Forms that a browser posts, of limited size."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import HTTPException, Request

LARGEST = 100_000  # bytes
FIELDS = 10


async def form(request: Request) -> dict[str, str]:
    """The fields of a urlencoded form, for a route to depend on; an error for anything larger or else."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST:
            raise HTTPException(413, "That is more text than a form here takes.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS))
    except ValueError:
        raise HTTPException(400, "This is no form.") from None
