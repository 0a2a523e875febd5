"""A real Asterisk in under a second: fetched without installing, made from the samples in `conf/asterisk`.

`fetch` gives a `Tree` (the unpacked program); an `Instance` is one Asterisk on one address: its folder of
configuration and state, its process. The demo and the tests with real programs use both; the balancer never does.
Nothing here is found by name and killed: an `Instance` ends the process that it started.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from sipbalancer.errors import EnvironmentFault

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
SAMPLES = CHECKOUT / "conf" / "asterisk"
BOOT_SECONDS = 30.0
"""A busy machine with two cores boots three at once; alone it takes half a second."""

MODULES_BOTH = """
    res_security_log res_timing_timerfd res_rtp_asterisk res_pjproject res_sorcery_config pbx_config
    app_dial app_echo app_verbose bridge_simple bridge_native_rtp bridge_holding bridge_softmix
    func_channel func_callerid func_logic func_strings codec_ulaw codec_alaw codec_gsm format_gsm format_pcm format_wav
""".split()
MODULES_PJSIP = """
    res_sorcery_memory res_sorcery_astdb res_pjsip res_pjsip_session res_pjsip_sdp_rtp res_pjsip_registrar
    res_pjsip_path res_pjsip_nat res_pjsip_authenticator_digest res_pjsip_outbound_authenticator_digest
    res_pjsip_endpoint_identifier_user res_pjsip_endpoint_identifier_ip res_pjsip_endpoint_identifier_anonymous
    res_pjsip_caller_id res_pjsip_rfc3326 res_pjsip_header_funcs res_pjsip_dtmf_info res_pjsip_logger
    res_pjsip_dlg_options res_pjsip_outbound_publish res_pjsip_pubsub res_pjsip_refer res_pjsip_messaging
    res_pjsip_exten_state res_pjsip_dialog_info_body_generator res_pjsip_pidf_body_generator
    chan_pjsip func_pjsip_endpoint func_pjsip_contact func_pjsip_aor
""".split()
MODULES_CHAN_SIP = "res_http_websocket chan_sip".split()
MODULES_SHARED = "res_odbc_transaction res_odbc res_config_odbc res_sorcery_realtime".split()

LOGGER = """[general]
dateformat=%F %T.%3q
[logfiles]
full => notice,warning,error,verbose,security
"""
INDICATIONS = """[general]
country=us
[us]
description=United States
ringcadence=2000,4000
dial=350+440
busy=480+620/500,0/500
ring=440+480/2000,0/4000
congestion=480+620/250,0/250
"""
CONTACTS_TABLE = """CREATE TABLE IF NOT EXISTS ps_contacts (
    id VARCHAR(255) PRIMARY KEY, uri VARCHAR(511), expiration_time BIGINT, qualify_frequency INTEGER,
    outbound_proxy VARCHAR(255), path TEXT, user_agent VARCHAR(255), qualify_timeout FLOAT, reg_server VARCHAR(255),
    authenticate_qualify VARCHAR(8), via_addr VARCHAR(40), via_port INTEGER, call_id VARCHAR(255),
    endpoint VARCHAR(255), prune_on_boot VARCHAR(8), qualify_2xx_only VARCHAR(8))"""
"""What Asterisk 22 writes for one PJSIP contact."""


class Release(StrEnum):
    PJSIP = "22"
    CHAN_SIP = "16"


class Tree(NamedTuple):
    """An unpacked Asterisk."""

    root: Path
    release: Release

    @property
    def launcher(self) -> Path:
        return self.root / "asterisk"

    @property
    def modules(self) -> Path:
        return self._find("chan_pjsip.so").parent

    @property
    def sqlite_driver(self) -> Path:
        return self._find("libsqlite3odbc.so")

    def _find(self, name: str) -> Path:
        found = sorted((self.root / "usr" / "lib").rglob(name))
        if not found:
            raise EnvironmentFault(f"{self.root}: {name} is missing; remove the folder and fetch Asterisk again")
        return found[0]


class User(NamedTuple):
    """One phone's account; `endpoint` and `aor` are further lines for its sections (chan_pjsip)."""

    number: str
    secret: str
    endpoint: tuple[str, ...] = ()
    aor: tuple[str, ...] = ()


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """$SIPBALANCER_CACHE, else `.cache` in the checkout."""
    named = environ.get("SIPBALANCER_CACHE")
    return Path(named) if named else CHECKOUT / ".cache"


def fetch(release: Release, cache: Path | None = None) -> Tree:
    """The unpacked program, from the cache when it is there; raises EnvironmentFault with the reason otherwise."""
    tree = Tree((cache or cache_folder()) / f"asterisk-{release}", release)
    command = [str(HERE / "fetch-asterisk.sh"), release.value, str(tree.root)]
    done = subprocess.run(["/bin/sh", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFault(f"Asterisk {release} cannot be fetched: {done.stderr.strip()}")
    return tree


class Instance:
    """One Asterisk on `address`, for phones that know `virtual`.

    `name` is its User-Agent and Server header. `shared`: an SQLite file that several instances keep their PJSIP
    contacts in. `media`: the address that SDP shows instead of `address`. Who starts it ends it, by `stop` or `kill`.
    """

    def __init__(
        self,
        tree: Tree,
        folder: Path,
        name: str,
        address: str,
        virtual: str,
        users: Sequence[User],
        *,
        trunk: str = "127.0.0.7",
        media: str | None = None,
        shared: Path | None = None,
    ) -> None:
        self.tree = tree
        self.folder = folder
        self.name = name
        self.address = address
        self.virtual = virtual
        self.users = users
        self.trunk = trunk
        self.media = media or address
        self.shared = shared
        self.log = folder / "log" / "full"
        self._process: subprocess.Popen[bytes] | None = None

    # -- files ---------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Make every file of configuration anew; SAMPLES with addresses and users put in, the rest minimal."""
        for part in ("etc", "log", "spool", "lib", "run"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        for name, text in self._files().items():
            (self.folder / "etc" / name).write_text(text)

    def _files(self) -> dict[str, str]:
        files = {
            "asterisk.conf": self._asterisk_conf(),
            "modules.conf": self._modules_conf(),
            "logger.conf": LOGGER,
            "rtp.conf": self._rtp_conf(),
            "extensions.conf": self._sample("extensions.conf"),
            "indications.conf": INDICATIONS,
            "manager.conf": "[general]\nenabled=no\n",
            "pjproject.conf": "[startup]\ntype=startup\n",
            "acl.conf": "",
        }
        files |= {f"{name}.conf": "[general]\n" for name in ("cdr", "cel", "features", "udptl", "ccss")}
        files |= self._chan_sip_files() if self.tree.release is Release.CHAN_SIP else self._pjsip_files()
        return files

    def _sample(self, name: str) -> str:
        try:
            text = (SAMPLES / name).read_text()
        except OSError as error:
            raise EnvironmentFault(f"{SAMPLES / name}: {error.strerror}; a real Asterisk needs a checkout") from None
        for ours, theirs in (
            ("192.0.2.10", self.virtual),
            ("192.0.2.11", self.address),
            ("203.0.113.11", self.media),
            ("198.51.100.7", self.trunk),
            ("pbx1", self.name),
        ):
            text = text.replace(ours, theirs)
        return text

    def _asterisk_conf(self) -> str:
        run, lib, spool = self.folder / "run", self.folder / "lib", self.folder / "spool"
        folders = {"etc": self.folder / "etc", "mod": self.tree.modules, "data": self.tree.root / "usr/share/asterisk"}
        folders |= {"varlib": lib, "db": lib, "key": lib, "agi": lib, "cache": lib, "spool": spool, "run": run}
        folders["log"] = self.log.parent
        lines = "".join(f"ast{name}dir => {path}\n" for name, path in folders.items())
        entity = f"entityid=02:00:00:00:00:{int(self.address.rsplit('.', 1)[1]):02x}\n"
        options = entity + f"verbose=3\nnocolor=yes\ndontwarn=yes\nhideconnect=yes\nsystemname={self.name}\n"
        return f"[directories]\n{lines}[options]\n{options}documentation_language=en_US\n"

    def _modules_conf(self) -> str:
        chan_sip = self.tree.release is Release.CHAN_SIP
        modules = MODULES_BOTH + (MODULES_CHAN_SIP if chan_sip else MODULES_PJSIP)
        modules += MODULES_SHARED if self.shared else []
        return "[modules]\nautoload=no\n" + "".join(f"load={module}.so\n" for module in modules)

    def _rtp_conf(self) -> str:
        """Its own thousand of ports: instances on one host share them."""
        first = 10000 + int(self.address.rsplit(".", 1)[1]) % 40 * 1000
        sample = self._sample("rtp.conf")
        return sample.replace("rtpstart=10000", f"rtpstart={first}").replace("rtpend=19999", f"rtpend={first + 998}")

    def _pjsip_files(self) -> dict[str, str]:
        files = {"pjsip.conf": self._sample("pjsip.conf") + "\n" + "".join(map(pjsip_user, self.users))}
        return files | self._shared_files() if self.shared else files

    def _chan_sip_files(self) -> dict[str, str]:
        users = "".join(f"[{user.number}](phone)\nsecret={user.secret}\n" for user in self.users)
        extensions = self._sample("extensions.conf").replace("TECH=PJSIP", "TECH=SIP")
        return {"sip.conf": self._sample("sip.conf") + "\n" + users, "extensions.conf": extensions}

    def _shared_files(self) -> dict[str, str]:
        source = f"[shared]\nDriver={self.tree.sqlite_driver}\nDatabase={self.shared}\nTimeout=5000\nSyncPragma=OFF\n"
        return {
            "odbc.ini": source,
            "odbcinst.ini": "",
            "res_odbc.conf": "[shared]\nenabled=yes\ndsn=shared\npre-connect=yes\nmax_connections=4\n",
            "extconfig.conf": "[settings]\nps_contacts => odbc,shared\n",
            "sorcery.conf": "[res_pjsip]\ncontact=realtime,ps_contacts\n",
        }

    # -- the process ---------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def _config(self) -> str:
        return str(self.folder / "etc" / "asterisk.conf")

    def start(self) -> None:
        """Start and return at once; `wait` before the first packet."""
        for left_over in (self.folder / "run").glob("asterisk.*"):
            left_over.unlink()
        etc = str(self.folder / "etc")
        environ = os.environ | {"ODBCSYSINI": etc, "ODBCINI": f"{etc}/odbc.ini"}
        with (self.folder / "log" / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [str(self.tree.launcher), "-C", self._config, "-f"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environ,
                start_new_session=True,
            )

    def wait(self, seconds: float = BOOT_SECONDS) -> None:
        """Until it is fully booted; raises EnvironmentFault with the end of its log when it is not in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.alive():
            if "fully booted" in self.cli("core waitfullybooted"):
                return
            time.sleep(0.05)
        tail = (self.folder / "log" / "out").read_text(errors="replace")[-2000:]
        raise EnvironmentFault(f"Asterisk {self.name} did not boot in {seconds:g} s:\n{tail}")

    def cli(self, command: str) -> str:
        """What the console says to `command`; empty while nobody listens."""
        arguments = [str(self.tree.launcher), "-C", self._config, "-rx", command]
        return subprocess.run(arguments, capture_output=True, text=True, check=False).stdout

    def drain(self) -> None:
        """`core stop gracefully`: it refuses new calls and ends with its last one. (`cli` would wait for that.)"""
        with socket.socket(socket.AF_UNIX) as console:
            console.connect(str(self.folder / "run" / "asterisk.ctl"))
            console.recv(1024)
            console.sendall(b"core stop gracefully\0")

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, seconds: float = 5.0) -> None:
        """Politely, then not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """As a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def pjsip_user(user: User) -> str:
    """The three sections of one phone, as pjsip.conf's sample explains them."""
    extra = "".join(f"{line}\n" for line in user.endpoint)
    kept = "".join(f"{line}\n" for line in user.aor)
    n = user.number
    return (
        f'[{n}](phone)\nauth={n}\naors={n}\ncallerid="Phone {n}" <{n}>\n{extra}'
        f"[{n}](login)\nusername={n}\npassword={user.secret}\n[{n}](contacts)\n{kept}"
    )
