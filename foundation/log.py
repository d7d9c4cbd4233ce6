"""What the program logs: standard `logging` under the name `zhclip`, as lines for people or as JSON, on stderr.

    log = logger("download")                     # zhclip.download
    with log_item("first", "download", "000012") as item:
        ...                                      # begins, ends with its seconds, or fails with its error
        item.fields["in"] = 10_000               # shown where it ends

A process that is started by one that was configured, such as a worker of a cluster on the same machine, finds format and
level in its environment (ZHCLIP_LOG_FORMAT, ZHCLIP_LOG_LEVEL); on other machines the deployment sets these two.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TextIO, get_args

from foundation.errors import InvalidInput

ROOT = "zhclip"
Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]
FORMAT_VARIABLE, LEVEL_VARIABLE = "ZHCLIP_LOG_FORMAT", "ZHCLIP_LOG_LEVEL"
NOISY = ("apache_beam", "root", "transformers", "huggingface_hub", "img2dataset", "open_clip", "jieba", "aiohttp")
logging.getLogger(ROOT).addHandler(logging.NullHandler())  # in a program that configures no logging, nothing is said


class ItemLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines carry fields. Further ones are given with `fields=` of a call, or added to `fields`."""

    def __init__(self, target: logging.Logger, fields: dict[str, Any]) -> None:
        super().__init__(target, fields)
        self.fields = fields

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Pass the fields on as `record.fields`."""
        fields = {**self.fields, **kwargs.pop("fields", {})}
        return msg, {**kwargs, "extra": {**kwargs.get("extra", {}), "fields": fields}}


def configure(format: str | None = None, level: str | None = None) -> None:
    """Log to stderr, in this process and in those that it starts; a further call replaces what was set before.

    Args:
        format: text or json; None: as the environment says, else text.
        level: debug, info, warning or error; None: as the environment says, else warning.

    Raises:
        InvalidInput: another format or level.
    """
    format = _one_of(get_args(Format), format or os.environ.get(FORMAT_VARIABLE) or "text", "log format")
    level = _one_of(get_args(Level), (level or os.environ.get(LEVEL_VARIABLE) or "warning").lower(), "log level")
    os.environ.update({FORMAT_VARIABLE: format, LEVEL_VARIABLE: level})
    handler = _StderrHandler()
    handler.setFormatter(_JsonFormatter() if format == "json" else _TextFormatter())
    root = logging.getLogger(ROOT)
    root.handlers = [handler]
    root.propagate = False  # handlers of the root logger are those of libraries: each line would come twice
    root.setLevel(level.upper())
    _adopt_libraries(handler if format == "json" else None)


def configure_worker() -> None:
    """Log as the process does that started this one, or as the deployment asks for; do nothing where neither has a say.

    Raises:
        InvalidInput: the environment names another format or level.
    """
    if FORMAT_VARIABLE in os.environ or LEVEL_VARIABLE in os.environ:
        configure()


def logger(package: str) -> logging.Logger:
    """The logger of a package: `zhclip.PACKAGE`."""
    return logging.getLogger(f"{ROOT}.{package}")


def item_logger(run: str, stage: str, item: str) -> ItemLogger:
    """The logger `zhclip.STAGE`, whose lines say which run and item they are of."""
    return ItemLogger(logger(stage), {"run": run, "stage": stage, "item": item})


@contextmanager
def log_item(run: str, stage: str, item: str) -> Iterator[ItemLogger]:
    """Log that an item begins, and that it ends, with its seconds, or fails, with its error, which is raised further."""
    log = item_logger(run, stage, item)
    log.info("begins")
    began = time.monotonic()
    try:
        yield log
    except Exception as error:
        reason = str(error).partition("\n")[0]  # of a child, say, the message holds the end of its log
        log.error("failed: %s: %s", type(error).__name__, reason, fields={"seconds": _seconds_since(began)})
        raise
    log.info("done", fields={"seconds": _seconds_since(began)})


def logs_json() -> bool:
    """Whether this process was configured to log JSON, so that nothing else may be written to stderr."""
    return any(isinstance(handler.formatter, _JsonFormatter) for handler in logging.getLogger(ROOT).handlers)


def quiet_libraries() -> None:
    """Keep the libraries' own chatter off the terminal, but not their errors. Call it before they are imported."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    for name in NOISY:
        logging.getLogger(None if name == "root" else name).setLevel(logging.ERROR)


def _adopt_libraries(handler: logging.Handler | None) -> None:
    """Give the handler what libraries log and warn, and faults of the program; None: let them write as they like."""
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _StderrHandler)]
    root.handlers += [handler] if handler else []
    logging.captureWarnings(handler is not None)
    if handler:
        sys.excepthook = _log_fault
    elif sys.excepthook is _log_fault:
        sys.excepthook = sys.__excepthook__


def _log_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logger("command").critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at that time: a progress display stands in for it while it is shown."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class _TextFormatter(logging.Formatter):
    """12:03:05 info    download first/000012: done  in=10000 out=9120 seconds=3.2"""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        item = f" {fields.pop('run', '')}/{fields.pop('item')}" if "item" in fields else ""
        fields.pop("stage", None)  # the logger's name
        name = record.name.removeprefix(f"{ROOT}.")
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        values = "".join(f" {key}={value}" for key, value in fields.items())
        line = f"{clock} {record.levelname.lower():<7} {name}{item}: {record.getMessage()}{values and f' {values}'}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return dict(fields)


def _one_of(known: tuple[str, ...], given: str, what: str) -> str:
    if given not in known:
        raise InvalidInput(f"{what} {given!r}: expected one of {', '.join(known)}")
    return given


def _seconds_since(began: float) -> float:
    return round(time.monotonic() - began, 3)
