"""The table of commands and their flags; each command is one function from arguments to an exit status.

0 done, 1 failed, 2 bad configuration or usage. What goes wrong is one clear line on standard error, for a bad file
all its errors, one line each. Whatever is heavy (the daemon, rich, the demo) is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from sipbalancer import __version__
from sipbalancer.compiled import runs
from sipbalancer.config.model import Config
from sipbalancer.errors import AdminError, ConfigError, SipBalancerError

DONE, FAILED, BAD_USAGE = 0, 1, 2

Arguments = argparse.Namespace
Exclusive = argparse._MutuallyExclusiveGroup
"""What `add_mutually_exclusive_group` gives; argparse has no public name for it."""


class Command(NamedTuple):
    """One word of the command line."""

    word: str
    summary: str
    flags: Callable[[argparse.ArgumentParser], None]
    carry_out: Callable[[Arguments], int]


class OneLineParser(argparse.ArgumentParser):
    """An error is one line, not the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_USAGE, f"{self.prog}: {message}; see: {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; its exit status. SystemExit only from argparse (--help, --version, a bad flag)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a Contact may hold what the terminal's encoding lacks
    arguments = _arguments(argv)
    try:
        code = int(arguments.carry_out(arguments))
        sys.stdout.flush()
        return code
    except ConfigError as error:
        _complain(*str(error).splitlines())
        return BAD_USAGE
    except SipBalancerError as error:
        _complain(*str(error).splitlines())
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    except BrokenPipeError:
        # The reader of our pipe has seen enough; the interpreter's own flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _arguments(argv: Sequence[str] | None) -> Arguments:
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and not arguments.passes_on:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    return arguments


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="sipbalancer", description="A SIP-aware load balancer for pools of Asterisk servers.")
    parser.add_argument("--version", action="version", version=f"sipbalancer {__version__} ({runs()})")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        passes_on = command.flags is _flags_passed_on
        sub = commands.add_parser(
            command.word, help=command.summary, description=command.summary, add_help=not passes_on
        )
        command.flags(sub)
        sub.set_defaults(carry_out=command.carry_out, passes_on=passes_on)
    return parser


def _complain(*lines: str) -> None:
    for line in lines:
        sys.stderr.write(f"sipbalancer: {line}\n")


def _say(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def _flags_run(parser: argparse.ArgumentParser) -> None:
    _flag_file(parser)
    parser.add_argument("--log", choices=("text", "json"), default="text", help="form of the log lines (key=value)")


def _flag_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the configuration, such as /etc/sipbalancer.cf")


def _flags_admin(parser: argparse.ArgumentParser) -> Exclusive:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--admin", type=Path, metavar="PATH", help=f"the admin socket (default {Config().admin})")
    where.add_argument("--config", type=Path, metavar="FILE", help="the running balancer's file, to find its socket")
    return where


def _flags_status(parser: argparse.ArgumentParser) -> None:
    _flags_admin(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")


def _flags_explain(parser: argparse.ArgumentParser) -> None:
    where = _flags_admin(parser)
    where.add_argument("--file", type=Path, metavar="FILE", help="ask no balancer: this file alone, all servers up")
    parser.add_argument(
        "datagram", nargs="?", default="-", metavar="DATAGRAM", help="a file with the SIP message; - or none: stdin"
    )
    parser.add_argument(
        "--from",
        dest="source",
        default="",
        metavar="HOST:PORT",
        help="where it came from (default: its top Via's address; for an answer the server its branch was made for)",
    )
    parser.add_argument("--virtual", default="", metavar="ADDR", help="which virtual address, when there are several")
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")


def _flags_where(parser: argparse.ArgumentParser) -> None:
    _flags_admin(parser)
    parser.add_argument("aor", metavar="AOR", help="whom, such as sip:100@pbx.example.com")
    parser.add_argument("--json", action="store_true", help="a JSON array on one line")


def _flags_server(parser: argparse.ArgumentParser) -> None:
    _flags_admin(parser)
    parser.add_argument("server", metavar="SERVER", help="which one, such as 192.0.2.1:5060 or its name in the file")


def _flags_drain(parser: argparse.ArgumentParser) -> None:
    _flags_server(parser)
    parser.add_argument("--wait", action="store_true", help="return when it is safe to stop the server")
    parser.add_argument("--vouch", action="store_true", help="say that no call or registration is older than the pins")
    parser.add_argument("--timeout", type=float, metavar="S", help="with --wait: give up (status 1) after S seconds")


def _flags_passed_on(parser: argparse.ArgumentParser) -> None:
    """All of its flags, --help too, are the command's own to read (`arguments.rest`)."""


def _run(arguments: Arguments) -> int:
    from sipbalancer.daemon.main import Options, run

    return run(arguments.file, Options(log=arguments.log))


def _check(arguments: Arguments) -> int:
    from sipbalancer.cli.check import check

    _say(check(arguments.file))
    return DONE


def _status(arguments: Arguments) -> int:
    from sipbalancer.cli.status import status, watch

    path = _admin_path(arguments)
    if arguments.watch:
        watch(path, arguments.json)
    else:
        status(path, arguments.json)
    return DONE


def _where(arguments: Arguments) -> int:
    from sipbalancer.cli.status import where

    return DONE if where(_admin_path(arguments), arguments.aor, arguments.json) else FAILED


def _drain(arguments: Arguments) -> int:
    if arguments.timeout is not None and not arguments.wait:
        _complain("--timeout goes with --wait")
        return BAD_USAGE
    done = _change(arguments, "drain", vouch=arguments.vouch)
    if done != DONE or not arguments.wait:
        return done
    from sipbalancer.cli.wait import wait

    return DONE if wait(_admin_path(arguments), arguments.server, arguments.timeout) else FAILED


def _enable(arguments: Arguments) -> int:
    return _change(arguments, "enable")


def _change(arguments: Arguments, command: str, **words: bool) -> int:
    from sipbalancer.cli.ask import ask
    from sipbalancer.cli.show import change_text

    _say(change_text(ask(_admin_path(arguments), command=command, server=arguments.server, **words)))
    return DONE


def _explain(arguments: Arguments) -> int:
    from sipbalancer.cli.explain import ask_config, ask_running, read_input, show
    from sipbalancer.daemon.file import read_config

    data, notes = read_input(arguments.datagram)
    words = data, arguments.source, arguments.virtual
    file = arguments.file or arguments.config
    try:
        if file is not None:
            config = read_config(file).config
            document = ask_config(config, *words, alone=arguments.file is not None)
        else:
            document = ask_running(_admin_path(arguments), *words)
    except AdminError as error:
        _complain(str(error))
        return BAD_USAGE
    show({**document, "notes": [*notes, *document["notes"]]}, arguments.json)
    return DONE


def _demo(arguments: Arguments) -> int:
    from sipbalancer.demo.main import main as demo

    return demo(arguments.rest)


def _admin_path(arguments: Arguments) -> Path:
    if arguments.config is not None:
        from sipbalancer.daemon.file import read_config

        return Path(read_config(arguments.config).config.admin)
    return arguments.admin or Path(Config().admin)


COMMANDS = (
    Command("run", "balance, in the foreground, until SIGTERM; SIGHUP reads the file again", _flags_run, _run),
    Command("check", "say what a file means and what is wrong or odd in it", _flag_file, _check),
    Command("status", "services, servers, verdicts and what they carry", _flags_status, _status),
    Command("where", "which server an address of record is on, and its Contacts", _flags_where, _where),
    Command("drain", "give a server nothing new, so that it can be stopped", _flags_drain, _drain),
    Command("enable", "undo drain", _flags_server, _enable),
    Command("explain", "what would happen to a datagram, and why", _flags_explain, _explain),
    Command("demo", "phones, servers and a balancer on this machine, for under a minute", _flags_passed_on, _demo),
)
