"""The command line: `zhclip`, and `python -m zhclip`."""

from __future__ import annotations

import sys

from zhclip.siblings import describe_foreign_sibling

EXIT_INVALID = 2  # as in foundation.errors, which may not be zhclip's
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line, unless a package that it would import belongs to another distribution."""
    complaint = describe_foreign_sibling()
    if complaint:
        print(f"zhclip: {complaint}", file=sys.stderr)
        sys.exit(EXIT_INVALID)
    try:
        from zhclip.app import app  # a second or two, in which Ctrl-C is no fault either

        app()
    except KeyboardInterrupt:
        print("zhclip: stopped", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
