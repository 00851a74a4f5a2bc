"""`jetson-face web run|passwd|users|token|remove`: the operator's page."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from jetson_face.cli.common import above_zero, add_config_arguments, config_of, say, say_json, whole
from jetson_face.config import default_state_dir
from jetson_face.core.errors import UsageError
from jetson_face.web.accounts import ROLES, Accounts, check_strength

_STATE = "/var/lib/jetson-face-web"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the page."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = actions.add_parser("run", help="serve the page and the API until told to stop")
    passwd = actions.add_parser("passwd", help="set a password; makes the user where there is none")
    remove = actions.add_parser("remove", help="take a user or a token away")
    token = actions.add_parser("token", help="make a token for a program; it is shown once")
    users = actions.add_parser("users", help="who may sign in, and which tokens there are")
    run.add_argument("--host", default="127.0.0.1", help="address to listen at (this box only)")
    run.add_argument("--port", type=whole(1, 65535), default=8642, help="default 8642")
    run.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name of the page"
    )
    run.add_argument("--tls-cert", type=Path, metavar="PEM", help="serve by TLS")
    run.add_argument("--tls-key", type=Path, metavar="PEM", help="of the certificate")
    run.add_argument("--runtime", type=Path, metavar="DIR", help="folder of the service's sockets")
    run.add_argument(
        "--session-minutes", type=above_zero, default=30.0, help="idle time that ends a session"
    )
    add_config_arguments(run)
    passwd.add_argument("--user", default="admin", help="default: admin")
    passwd.add_argument("--role", choices=ROLES, default="admin", help="default: admin")
    passwd.add_argument("--stdin", action="store_true", help="read the password as one line")
    token.add_argument("name", help="what the audit log calls the program")
    token.add_argument("--role", choices=ROLES, default="viewer", help="default: viewer")
    remove.add_argument("what", help="name of a user, or id of a token")
    users.add_argument("--json", action="store_true", help="print JSON")
    for sub in (run, passwd, token, users, remove):
        sub.add_argument("--state", type=Path, metavar="DIR", help="folder of the accounts")


def run(args: argparse.Namespace) -> int:
    """Raises UsageError, and what serving raises."""
    accounts = Accounts(_state(args))
    if args.action == "run":
        return _serve(args, accounts)
    if args.action == "passwd":
        accounts.set_password(args.user, _password(args), args.role)
        say(f"{args.user} may sign in as {args.role}; who was signed in as {args.user} is not now")
    elif args.action == "token":
        shown = accounts.add_token(args.name, args.role)
        say(f"token of {args.name} ({args.role}); it is shown this once:", shown)
    elif args.action == "remove":
        if accounts.user(args.what) is not None:
            accounts.remove_user(args.what)
        else:
            accounts.remove_token(args.what)
        say(f"{args.what} is removed")
    else:
        _list(accounts, as_json=args.json)
    return 0


def _serve(args: argparse.Namespace, accounts: Accounts) -> int:
    from jetson_face.web.server import Listening, check, serve

    if (args.tls_cert is None) != (args.tls_key is None):
        raise UsageError("--tls-cert and --tls-key go together")
    tls = None if args.tls_cert is None else (args.tls_cert, args.tls_key)
    listening = Listening(args.host, args.port, tls)
    check(listening, accounts)
    from jetson_face.web.app import Options, create_app

    if args.runtime is not None:
        status, control = args.runtime / "status.sock", args.runtime / "control.sock"
    else:
        config = config_of(args)
        status, control = config.status_socket, config.control_socket
    names = frozenset([args.host, *args.allow_host])
    app = create_app(
        Options(
            status,
            control,
            accounts.path.parent,
            names,
            secure=tls is not None,
            idle_s=args.session_minutes * 60,
        )
    )

    def started() -> None:
        say(f"the page: {listening.address}")
        if not accounts.users:
            say("nobody may sign in yet: set a password with `jetson-face web passwd`")
        sys.stdout.flush()

    serve(app, listening, started)
    return 0


def _state(args: argparse.Namespace) -> Path:
    """Of the installed page where there is one, else of this user's."""
    if args.state is not None:
        return Path(args.state)
    installed = Path(_STATE)
    return installed if installed.is_dir() else default_state_dir() / "web"


def _password(args: argparse.Namespace) -> str:
    if args.stdin or not sys.stdin.isatty():
        return _line()
    first = getpass.getpass(f"New password of {args.user}: ")
    check_strength(args.user, first)
    if getpass.getpass("Once more: ") != first:
        raise UsageError("these are two different passwords: nothing was changed")
    return first


def _line() -> str:
    """A line of standard input. Raises UsageError."""
    try:
        line = sys.stdin.readline().rstrip("\n")
        line.encode()  # where the locale says no encoding, what is no text comes as surrogates
    except UnicodeError:
        raise UsageError("the password on standard input is no text: give it in UTF-8") from None
    return line


def _list(accounts: Accounts, *, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "users": [{"name": u.name, "role": u.role} for u in accounts.users],
                "tokens": [
                    {"id": t.id, "name": t.name, "role": t.role, "created": t.created}
                    for t in accounts.tokens
                ],
            }
        )
        return
    for user in accounts.users:
        say(f"{user.name}: {user.role}")
    for token in accounts.tokens:
        say(f"token {token.id} of {token.name}: {token.role}, since {token.created}")
    if not accounts.users:
        say("nobody may sign in yet: jetson-face web passwd")
