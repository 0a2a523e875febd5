"""One pool of three real Asterisks and one balancer for all tests of this folder, in a network namespace of their own.

SIPBALANCER_DIRECT=1 points every phone at one Asterisk alone, without a balancer: it proves the scenarios themselves.
What a missing program leaves untested is skipped with the words to install it (in CI: fails, see tests/conftest.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from zlib import crc32

import pytest

from sipbalancer.demo.asterisk import Release, Tree, fetch
from sipbalancer.errors import EnvironmentFault
from tests.real.namespace import Namespace
from tests.real.phone import Phone
from tests.real.pool import DIRECT, DOMAIN, VIRTUAL, Directory, Phones, Pool, SoftPhones, available, instances, stop_all
from tests.real.programs import Balancer, Process, Sipp

FOLDER = Path(__file__).parent
LOGS = pytest.StashKey[Path]()
NAMESPACE = pytest.StashKey[Namespace]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.real)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test of this folder, its fixtures included, runs inside the namespace; all else where it was."""
    namespace = _namespace(item.config) if FOLDER in item.path.parents else None  # pytest asks us for every test
    if namespace is None:
        return (yield)
    with namespace.entered():
        return (yield)


def _namespace(config: pytest.Config) -> Namespace | None:
    if NAMESPACE not in config.stash:
        try:
            config.stash[NAMESPACE] = Namespace.create()
        except (OSError, FileNotFoundError):
            return None
    return config.stash[NAMESPACE]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    logs = item.config.stash.get(LOGS, None)
    if report.failed and logs is not None:
        report.sections.append(("logs", f"everything is in {logs}"))
        for balancer in sorted(logs.glob("*/balancer.txt")):
            report.sections.append((f"end of {balancer}", balancer.read_text(errors="replace")[-1500:]))
    return report


@pytest.fixture(scope="session")
def logs(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything writes: $SIPBALANCER_LOGS, else a folder of pytest."""
    if NAMESPACE not in pytestconfig.stash:
        pytest.skip("no network namespace: run as root, or through `unshare -rn`")
    named = os.environ.get("SIPBALANCER_LOGS")
    folder = Path(named) if named else tmp_path_factory.mktemp("real")
    folder.mkdir(parents=True, exist_ok=True)
    pytestconfig.stash[LOGS] = folder
    return folder


@pytest.fixture(scope="session")
def capture(logs: Path) -> Iterator[None]:
    """SIPBALANCER_CAPTURE=1 keeps every packet, for those who hunt a fault."""
    if not os.environ.get("SIPBALANCER_CAPTURE"):
        yield
        return
    process = Process(
        ["dumpcap", "-q", "-i", "lo", "-f", "udp port 5060", "-w", str(logs / "all.pcapng")], logs / "dumpcap"
    )
    yield
    process.end()


@pytest.fixture(scope="session")
def fetched(logs: Path, pytestconfig: pytest.Config) -> Callable[[Release], Tree]:
    """An Asterisk, unpacked; the mirror is reached from outside the namespace. Skips where it cannot be had."""

    def fetch_outside(release: Release) -> Tree:
        with pytestconfig.stash[NAMESPACE].left():
            try:
                return fetch(release)
            except EnvironmentFault as fault:
                pytest.skip(str(fault))

    return fetch_outside


@pytest.fixture(scope="session")
def asterisk(fetched: Callable[[Release], Tree]) -> Tree:
    """Asterisk 22, unpacked."""
    return fetched(Release.PJSIP)


@pytest.fixture(scope="session")
def pool(asterisk: Tree, logs: Path, capture: None) -> Iterator[Pool]:
    addresses = ["127.0.0.11", "127.0.0.12", "127.0.0.13"][: 1 if DIRECT else 3]
    servers = instances(asterisk, logs, [f"a{address[-1]}" for address in addresses], addresses, VIRTUAL)
    yield Pool(servers, (addresses[0] if DIRECT else VIRTUAL, 5060))
    stop_all(servers)


@pytest.fixture(scope="session")
def running(pool: Pool, logs: Path) -> Iterator[Balancer | None]:
    """The balancer before the pool; None when phones go straight to the only server."""
    if DIRECT:
        yield None
        return
    words = (f"alias = {DOMAIN}", "clientheader = X-Client-Address")
    balancer = Balancer(logs / "balancer", VIRTUAL, [server.address for server in pool.servers], words)
    try:
        balancer.start()
        yield balancer
    finally:
        balancer.stop()


@pytest.fixture
def balancer(running: Balancer | None) -> Balancer:
    if running is None:
        pytest.skip("SIPBALANCER_DIRECT: no balancer")
    return running


@pytest.fixture(scope="session")
def directory() -> Directory:
    return Directory()


@pytest.fixture
def folder(logs: Path, request: pytest.FixtureRequest) -> Path:
    """What one test leaves behind. The name is short: below it an Asterisk opens a socket, of 107 bytes at most."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    made = logs / f"{name[:24]}-{crc32(request.node.nodeid.encode()):08x}"
    made.mkdir(exist_ok=True)
    return made


@pytest.fixture
def phones(running: Balancer | None, pool: Pool, directory: Directory, folder: Path) -> Iterator[Phones]:
    made = Phones(directory, pool.target, folder)
    yield made
    made.close()


@pytest.fixture
def phone(phones: Phones) -> Phone:
    return phones.phone()


@pytest.fixture
def sipp(running: Balancer | None, pool: Pool, folder: Path) -> Iterator[Sipp]:
    available("sipp")
    made = Sipp(folder, pool.target)
    yield made
    made.close()


@pytest.fixture
def soft_phones(running: Balancer | None, pool: Pool, directory: Directory, folder: Path) -> Iterator[SoftPhones]:
    available("baresip")
    made = SoftPhones(pool, directory, folder)
    yield made
    made.close()
