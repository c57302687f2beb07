"""Serves files under ``/pages``: the pages' source files and the files that Vite builds."""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

PREFIX = "/pages"
BUILT = Path(__file__).parent / "graphiql" / "dist"
SOURCES = Path(__file__).parent / "graphiql" / "src"

IMMUTABLE = "public, max-age=31536000, immutable"


def built(name: str) -> str | None:
    """Return the HTML of a built page, or ``None`` if the page is not built."""
    path = BUILT / name
    return path.read_text() if path.is_file() else None


class Files:
    """Serves a folder's files.

    If ``hashed`` is true, each file's name contains a hash of the content, and browsers may cache the file for a year.
    """

    def __init__(self, folder: Path, *, hashed: bool) -> None:
        self._files = StaticFiles(directory=folder, check_dir=False)
        self._headers = [(b"cache-control", (IMMUTABLE if hashed else "no-cache").encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            answer = await self._files.get_response(self._files.get_path(scope), scope)
        except HTTPException as error:
            answer = PlainTextResponse("The file does not exist.\n", error.status_code)
        else:
            answer.raw_headers += self._headers
        await answer(scope, receive, send)
