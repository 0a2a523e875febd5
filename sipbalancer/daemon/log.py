"""One-line structured logs: `time=... level=info event="server changed" server=... reason="..."`, or one JSON object.

What lives here: the two formats, where the lines go (`logfile =`) and `say`, the one way the daemon logs. Lines are
written by a thread of their own, from a bounded queue: a full disk or a stuck journal loses lines, never calls. The
datagram path does not log at all.

Values come from the network too (host names, reason phrases): everything outside printable ASCII is escaped, so a
line is always one line and no terminal obeys it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, SysLogHandler, WatchedFileHandler
from queue import Empty, Full, Queue

LOGGER = logging.getLogger("sipbalancer")
LIBRARIES = (logging.getLogger("asyncio"), logging.getLogger("aiohttp"))
"""Their warnings come out in our form and our place."""
QUEUE_LINES = 10_000
STUCK = 2.0
"""Seconds the end waits for a place that takes no lines."""
FORMATS = ("text", "json")

_BARE = re.compile(r"[A-Za-z0-9_.,:;/@+<>()\[\]{}*%!?&~^|$#-]+")


def say(level: int, event: str, **fields: object) -> None:
    """Log one event with its facts; `fields` keep their order and must not be named time, level or event."""
    LOGGER.log(level, event, extra={"fields": fields})


class TextFormatter(logging.Formatter):
    """`key=value`, values in JSON quotes when they hold a space, a quote, `=` or anything not printable ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_value(value)}" for key, value in _facts(record).items())


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_facts(record), default=str)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    facts: dict[str, object] = {"time": at, "level": record.levelname.lower(), "event": record.getMessage()}
    facts.update(getattr(record, "fields", {}))
    if record.exc_info:
        facts["traceback"] = logging.Formatter().formatException(record.exc_info)
    elif record.exc_text:
        facts["traceback"] = record.exc_text
    return facts


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)


class _Enqueue(QueueHandler):
    """Hands records to the writing thread unformatted; a full queue loses the line and counts it."""

    def __init__(self, queue: Queue[logging.LogRecord]) -> None:
        super().__init__(queue)
        self.lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except Full:
            self.lost += 1


class _Writer(QueueListener):
    """The writing thread. The standard one cannot be told to end while its queue is full."""

    def __init__(self, lines: Queue[logging.LogRecord], target: logging.Handler) -> None:
        super().__init__(lines, target)
        self._lines = lines

    def enqueue_sentinel(self) -> None:
        """Ask it to end behind what is queued; if the queue stays full, the place being stuck, a line gives way."""
        sentinel = self._sentinel  # type: ignore[attr-defined]  # the stub leaves it out
        try:
            self._lines.put(sentinel, timeout=STUCK)
        except Full:
            with suppress(Empty):
                self._lines.get_nowait()
            with suppress(Full):
                self._lines.put_nowait(sentinel)

    def stop(self) -> None:
        """End it, but do not wait long for one that is stuck: it ends with the process."""
        self.enqueue_sentinel()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(STUCK)

    def _monitor(self) -> None:
        super()._monitor()  # type: ignore[misc]  # the stub leaves it out
        for handler in self.handlers:
            handler.close()


class Output:
    """Where our lines go now. `open` may be called again (reload); `close` writes what is queued."""

    def __init__(self, style: str, lines: int = QUEUE_LINES) -> None:
        self._formatter = JsonFormatter() if style == "json" else TextFormatter()
        self._listener: QueueListener | None = None
        self._lines: Queue[logging.LogRecord] = Queue(lines)
        self._enqueue = _Enqueue(self._lines)
        self._logfile: str | None = None

    @property
    def lost(self) -> int:
        """Lines that found the queue full."""
        return self._enqueue.lost

    def open(self, logfile: str) -> None:
        """Send lines to `logfile`: "" = standard error, "/path" = that file, else a syslog facility.

        A place that cannot be opened is a logged warning, and standard error is used.
        """
        if logfile == self._logfile:
            return
        problem = ""
        try:
            target = _target(logfile)
        except (OSError, ValueError) as error:
            target, problem = logging.StreamHandler(sys.stderr), str(error)
        self._replace(target)
        self._logfile = logfile
        if problem:
            say(logging.WARNING, "logfile cannot be used: logging to standard error", logfile=logfile, error=problem)

    def _replace(self, target: logging.Handler) -> None:
        target.setFormatter(self._formatter)
        self._stop_listener()
        self._listener = _Writer(self._lines, target)
        self._listener.start()
        LOGGER.setLevel(logging.INFO)
        for logger in (LOGGER, *LIBRARIES):
            logger.propagate = False
            logger.handlers[:] = [self._enqueue]

    def _stop_listener(self) -> None:
        if self._listener is None:
            return
        self._listener.stop()
        self._listener = None

    def close(self) -> None:
        """Write what is queued and give the loggers back."""
        for logger in (LOGGER, *LIBRARIES):
            logger.propagate = True
            logger.handlers[:] = [each for each in logger.handlers if each is not self._enqueue]
        self._stop_listener()


def _target(logfile: str) -> logging.Handler:
    if not logfile:
        return logging.StreamHandler(sys.stderr)
    if logfile.startswith("/"):
        return WatchedFileHandler(logfile, encoding="utf-8")
    facility = SysLogHandler.facility_names.get(logfile.lower())
    if facility is None:
        raise ValueError("neither a path that begins with / nor a syslog facility such as daemon or local0")
    return _syslog(facility)


def _syslog(facility: int) -> logging.Handler:
    try:
        return SysLogHandler(address="/dev/log", facility=facility)
    except OSError as error:
        raise OSError(f"/dev/log: {error.strerror}: is a syslog daemon or journald running?") from error
