"""The state folder: what a restart must not lose.

`lock` (one balancer per folder), `secret` (the keys, unless `secret =` names another file), `pins` (mapped memory of
the pin table) and `contacts.db` (see contacts.py). A folder that cannot be used is no reason not to carry calls:
the balancer then runs on memory alone, and `warnings` says what the next restart will lose.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from hashlib import blake2b
from pathlib import Path

from sipbalancer.config.model import Config
from sipbalancer.daemon.keys import make_keys, named_keys, new_key, others_may_read, read_keys
from sipbalancer.director.epoch import Epoch, first_start, go_on, mark, shift, vouch
from sipbalancer.director.pins import PinTable
from sipbalancer.errors import EnvironmentFault

LOST_PINS = "a restart forgets which server each registration and call is on"
LOST_KEYS = "dialogs and registrations made before a restart are not recognised after it"
LOST_CONTACTS = "Contacts of phones whose server keeps no Path"


class State:
    """An open state folder. Make it with `open_state`; `close` gives the folder back."""

    def __init__(self, shared: bool = False) -> None:
        """`shared`: other processes are to map the pins too."""
        self._shared = shared
        self.descriptor = -1
        """Of the pins, where they are shared."""
        self.keys: tuple[bytes, ...] = ()
        """Newest first."""
        self.memory: mmap.mmap | None = None
        """The pins, mapped; anonymous when the folder cannot be used."""
        self.contacts: Path | None = None
        """Where contacts.db belongs; None = memory only."""
        self.warnings: list[str] = []
        self.first_start = False
        """The pins began in a folder that held nothing of ours."""
        self._lock = -1

    def epoch(self, wall: float) -> Epoch:
        """What time it is for the pins; those kept are shifted where the clock was wrong. To be asked before them."""
        assert self.memory is not None, "open_state maps it"
        with memoryview(self.memory) as memory:
            epoch = go_on(memory, wall)
            if epoch.shift:
                shift(memory, epoch.shift)
                mark(memory, epoch.now, wall)
        return epoch

    def mark(self, now: float, wall: float) -> None:
        """Note both clocks, for the next start: see director/epoch.py."""
        if self.memory is not None:
            with memoryview(self.memory) as memory:
                mark(memory, now, wall)

    def vouch(self) -> None:
        """The operator knows that nothing is older than the pins; kept for the next starts."""
        assert self.memory is not None, "open_state maps it"
        with memoryview(self.memory) as memory:
            vouch(memory)

    def pin_table(self, now: float) -> PinTable:
        """The pins in this folder's memory; a warning when pins that were there cannot be used."""
        assert self.memory is not None, "open_state maps it"
        return self.judged(PinTable(self.memory, self.check, now))

    @property
    def check(self) -> bytes:
        """What a pin table must have been made under."""
        return key_check(self.keys[0])

    def judged(self, pins: PinTable) -> PinTable:
        """The table, and a warning when pins that were there cannot be used."""
        assert self.memory is not None, "open_state maps it"
        with memoryview(self.memory) as memory:
            self.first_start = first_start(memory, not pins.loaded, self.first_start)
        if pins.why_empty:
            self.warnings.append(f"the pins start empty ({pins.why_empty}): phones may change their server once")
        return pins

    def close(self) -> None:
        """Unmap and unlock. The pin table made from it must be closed before."""
        if self.memory is not None:
            self.memory.close()
        for descriptor in (self._lock, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self.descriptor = -1

    def use(self, folder: Path, secret: str, size: int) -> None:
        """Take over the folder as far as it lets us; EnvironmentFault when another balancer holds it."""
        held = any((folder / name).exists() for name in ("secret", "pins", "contacts.db"))
        problem = _make_folder(folder)
        self.first_start = not held and not problem
        if not problem:
            problem = self._take_lock(folder)
        self._find_keys(folder, secret, problem)
        if problem:
            self._map_nothing(size)
            lost = f"{LOST_PINS}, and the {LOST_CONTACTS}"
            cure = f"name a folder that this user (uid {os.geteuid()}) may write"
            self.warnings.append(f"state = {folder}: {problem}: running on memory alone, {lost}; {cure}")
            return
        self.contacts = folder / "contacts.db"
        self._map_pins(folder / "pins", size)

    def _take_lock(self, folder: Path) -> str:
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            return _reason(error)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise EnvironmentFault(
                f"state = {folder}: in use by another balancer (process {holder}):"
                " stop that one, or give this file a state folder of its own"
            ) from None
        except OSError as error:
            os.close(lock)
            return f"cannot be locked: {_reason(error)}"
        self._lock = lock
        return _write_pid(lock)

    def _find_keys(self, folder: Path, secret: str, problem: str) -> None:
        path = Path(secret) if secret else folder / "secret"
        if secret:
            self.keys = named_keys(path)
        else:
            self.keys = self._own_keys(path, problem)
        if others_may_read(path):
            self.warnings.append(f"{path}: every user of this host may read the keys: chmod 600 {path}")

    def _own_keys(self, path: Path, problem: str) -> tuple[bytes, ...]:
        try:
            return read_keys(path) if path.exists() or problem else make_keys(path)
        except OSError as error:
            self.warnings.append(f"{path}: {problem or _reason(error)}: using a key of this run only, {LOST_KEYS}")
            return (new_key(),)

    def _map_pins(self, path: Path, size: int) -> None:
        try:
            descriptor = _open_file(path, size)
        except OSError as error:
            self._map_nothing(size)
            self.warnings.append(f"{path}: {_reason(error)} ({size >> 20} MiB are needed): {LOST_PINS}")
            return
        self._map(descriptor, size)

    def _map_nothing(self, size: int) -> None:
        """Memory that is gone with us."""
        if not self._shared:
            self.memory = mmap.mmap(-1, size)
            return
        descriptor = os.memfd_create("sipbalancer pins", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, size)
        self._map(descriptor, size)

    def _map(self, descriptor: int, size: int) -> None:
        try:
            self.memory = mmap.mmap(descriptor, size)
            if self._shared:
                self.descriptor = os.dup(descriptor)
        finally:
            os.close(descriptor)


def open_state(config: Config, *, shared: bool = False) -> State:
    """Open the folder of `state =`. EnvironmentFault: another balancer holds it, or `secret =` cannot be had.

    ConfigError: the secret file holds something else than keys.
    """
    state = State(shared)
    try:
        state.use(Path(config.state), config.secret, PinTable.size_for(config.registrations + config.calls))
    except BaseException:
        state.close()
        raise
    return state


def key_check(key: bytes) -> bytes:
    """Eight bytes that tell keys apart and give nothing of them away."""
    return blake2b(key=key, digest_size=8, person=b"pin check").digest()


def _make_folder(folder: Path) -> str:
    """Why the folder cannot be used; "" when it can."""
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        return f"cannot be made: {_reason(error)}"
    return ""


def _write_pid(lock: int) -> str:
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        return _reason(error)
    return ""


def _open_file(path: Path, size: int) -> int:
    """The file, made or cut to `size`. OSError when it is not ours to map."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file")
        os.ftruncate(descriptor, size)
        # A hole in a mapped file is SIGBUS on the day the disk is full: take the blocks now, or not at all.
        os.posix_fallocate(descriptor, 0, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
