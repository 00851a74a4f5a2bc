"""`jetson-face service install|uninstall|status|logs|exec|run|control`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from jetson_face.cli.common import (
    add_config_arguments,
    config_of,
    config_words,
    quicken_streams,
    say,
    whole,
)
from jetson_face.cli.service_exec import exec_as_service
from jetson_face.config import Config
from jetson_face.core.errors import ConfigError, InputMissingError, JetsonFaceError, UsageError
from jetson_face.service import install as service_install
from jetson_face.service import install_web
from jetson_face.service.page_settings import PageSettings

if TYPE_CHECKING:
    from jetson_face.service.control.desk import Desk
    from jetson_face.service.control.http import Route

Plan: TypeAlias = tuple[Iterator[service_install.Step], list[JetsonFaceError], list[str]]
"""What to do, why a real run would refuse to, and what was found on the box."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the service."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    put_on = actions.add_parser("install", help="put it on this box, enable and start it")
    take_off = actions.add_parser("uninstall", help="stop it and take it off this box")
    status = actions.add_parser("status", help="what systemd says of it")
    logs = actions.add_parser("logs", help="its log")
    other = actions.add_parser("exec", help="another command, with the service's gallery and key")
    run = actions.add_parser("run", help="what systemd starts: recognise until told to stop")
    for sub in (put_on, take_off, status, logs, other):
        sub.add_argument("--name", metavar="NAME", help="one of several instances")
    for sub in (put_on, take_off):
        sub.add_argument("--dry-run", action="store_true", help="only say what would be done")
        sub.add_argument(
            "--root", type=Path, default=Path("/"), metavar="DIR", help="of an image, not this box"
        )
    put_on.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="used where the box has none yet"
    )
    for sub in (put_on, take_off):
        sub.add_argument("--web", action="store_true", help="the operator's page, too")
    put_on.add_argument("--no-start", action="store_true", help="enable it, start it at boot")
    take_off.add_argument(
        "--purge", action="store_true", help="erase configuration, key, gallery and events, too"
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on showing new lines")
    logs.add_argument("-n", "--lines", type=whole(1), default=100, help="how many (default 100)")
    other.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="COMMAND", help="as in: enroll people/"
    )
    add_config_arguments(run)
    control = actions.add_parser("control", help="what the service starts to answer pages")
    control.add_argument("--listener", type=int, required=True, help="number of an open socket")
    control.add_argument("--parent", type=int, required=True, help="number of an open pipe")
    add_config_arguments(control)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError without the rights or without systemd, and what a step raises."""
    if args.action == "run":
        from jetson_face.service import serve

        # What starts the process behind the control socket, and this box's part in a fleet.
        control, fleet = (_with_this_config(args, it) for it in ("service control", "fleet run"))
        return serve(_settings(args).load, control, fleet)
    if args.action == "control":
        from jetson_face.service.control.process import serve_control

        words = config_words(args)
        return serve_control(_settings(args), args.listener, args.parent, words, _fleet_routes)
    if args.action in ("install", "uninstall"):
        return _change(args)
    unit = service_install.service_name(args.name)
    if args.action == "exec":
        return exec_as_service(args.words, args.name)
    if not service_install.systemd_runs():
        raise UsageError(f"systemd does not run here: {service_install.WITHOUT}")
    if args.action == "status":
        return _call(["systemctl", "--no-pager", "--full", "status", unit])
    follow = ["--follow"] if args.follow else ["--no-pager"]
    return _call(["journalctl", f"--unit={unit}", f"--lines={args.lines}", *follow])


def _settings(args: argparse.Namespace) -> PageSettings:
    def load(changes: Sequence[str]) -> Config:
        config = config_of(args, *changes)
        quicken_streams(config)
        return config

    return PageSettings(load)


def _with_this_config(args: argparse.Namespace, command: str) -> list[str]:
    """What starts another command with this one's configuration."""
    return [sys.executable, "-m", "jetson_face", *command.split(), *config_words(args)]


def _fleet_routes(desk: Desk) -> Sequence[Route]:
    from jetson_face.fleet.desk import FleetDesk

    return FleetDesk(desk).routes


def _change(args: argparse.Namespace) -> int:
    dry = args.dry_run
    service_install.service_name(args.name)  # before anything is done under that name
    if not dry and os.geteuid() != 0:
        raise UsageError(f"`service {args.action}` changes the system: run it with sudo")
    on_this_box = args.root == Path("/")
    box = service_install.Box(args.root, booted=on_this_box and service_install.systemd_runs())
    install = args.action == "install"
    steps, refusals, found = (_install if install else _uninstall)(args, box)
    for refusal in refusals:
        if not dry or isinstance(refusal, ConfigError | InputMissingError):
            raise refusal
        say(f"       warning  {refusal}")
    for line in found:
        say(f"         found  {line}")
    for step in steps:
        if not step.needed:
            say(f"     as it is  {step.what}")
        elif dry:
            say(f"  would be done  {step.what}")
        else:
            _act(step)
            say(f"          done  {step.what}")
    if install and (why := service_install.unusable(box, args.name)) is not None:
        say(f"       warning  the service will not start until its configuration is valid: {why}")
    return 0


def _install(args: argparse.Namespace, box: service_install.Box) -> Plan:
    program = service_install.own_program()
    target = service_install.config_target(box, args.name)
    hardware = service_install.find_hardware(box, args.config, args.name)
    steps = service_install.install_steps(
        box,
        program,
        config=args.config,
        instance=args.name,
        start=not args.no_start,
        hardware=hardware,
    )
    if args.web:
        _check_web(args)
        steps = chain(steps, install_web.web_steps(box, program, start=not args.no_start))
    return steps, service_install.refusals(program, args.config, target), hardware.lines()


def _uninstall(args: argparse.Namespace, box: service_install.Box) -> Plan:
    steps = service_install.uninstall_steps(box, instance=args.name, purge=args.purge)
    if args.web:
        _check_web(args)
        steps = chain(install_web.web_removal(box, purge=args.purge), steps)
    return steps, service_install.without_systemctl("uninstall"), []


def _check_web(args: argparse.Namespace) -> None:
    if args.name is not None:
        raise UsageError(
            "the installed page is that of jetson-face.service: for an instance start "
            "`jetson-face web run --runtime /run/jetson-face/NAME`"
        )


def _act(step: service_install.Step) -> None:
    try:
        step.act()
    except JetsonFaceError:
        raise
    except OSError as error:
        raise UsageError(f"{step.what}: {error.strerror or error}") from error


def _call(command: list[str]) -> int:
    return subprocess.run(command, check=False).returncode
