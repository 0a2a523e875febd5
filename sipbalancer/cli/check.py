"""`sipbalancer check FILE`: what the file means, then whether this host can serve it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sipbalancer.config.address import literal
from sipbalancer.config.legs import leg_clashes
from sipbalancer.config.model import Config
from sipbalancer.config.report import report
from sipbalancer.daemon.crew_memory import workers_of
from sipbalancer.daemon.file import read_config
from sipbalancer.daemon.local_address import is_local
from sipbalancer.daemon.mail import SENDMAIL, can_send


def check(path: Path) -> str:
    """The report; ConfigError with all errors of the file."""
    parsed = read_config(path)
    here = "".join(f"  {line}\n" for line in _of_this_host(parsed.config))
    return report(parsed.config, parsed.warnings) + (f"\non this host\n{here}" if here else "")


def _of_this_host(config: Config) -> Iterator[str]:
    for service in config.virtual:
        if literal(service.host) is None:
            yield f"WARNING: virtual {service.key}: a name; its address is looked up when the balancer starts"
        elif not is_local(service.host):
            yield (
                f"WARNING: virtual {service.key}: {service.host} IS NOT ON THIS HOST. run binds it all the same"
                " (IP_FREEBIND), but nothing arrives until it is added to an interface"
            )
    workers = workers_of(config)
    if workers > 1:
        yield f"workers: {workers} processes forward, one more stands by"
        for service in config.virtual:
            ports = service.leg_ports(workers)
            yield f"virtual {service.key}: servers are asked from, and must reach, ports {ports[0]}-{ports[-1]}"
        if not config.workers:
            yield from (f"WARNING: legport: {clash.advice}" for clash in leg_clashes(config, workers))
    if any(service.emailalert and not can_send(service.smtp) for service in config.virtual):
        yield f"WARNING: emailalert: no mail can be sent: write smtp = HOST (there is no {SENDMAIL})"
