"""`python -m pipeline.cli`: an alias of `python -m zhclip`, kept for scripts."""

import runpy

if __name__ == "__main__":
    runpy.run_module("zhclip", run_name="__main__", alter_sys=True)
