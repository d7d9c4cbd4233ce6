"""`python -m zhclip`: the command line."""

from zhclip.app import main

if __name__ == "__main__":
    main()
