"""`python -m zhclip`: the command line."""

import sys

from foundation.errors import EXIT_INVALID
from foundation.siblings import describe_foreign_sibling


def main() -> None:
    """Entry point of `zhclip`. It imports the commands only when it is sure that what they import is zhclip's."""
    complaint = describe_foreign_sibling()
    if complaint:
        print(f"zhclip: {complaint}", file=sys.stderr)
        sys.exit(EXIT_INVALID)
    from zhclip.app import main as run

    run()


if __name__ == "__main__":
    main()
