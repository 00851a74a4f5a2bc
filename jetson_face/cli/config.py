"""`jetson-face config check|show|schema`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from jetson_face.cli.common import (
    add_config_arguments,
    config_of,
    one_of,
    same_config,
    say,
    say_json,
    say_text,
)
from jetson_face.config import Config, MqttConfig, WebhookConfig
from jetson_face.privacy.encryption import credential, credentials_in
from jetson_face.util.redact import HIDDEN, redact_address, redact_values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the configuration."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say whether a configuration is valid")
    show = actions.add_parser("show", help="print every key with its value in force, as YAML")
    for sub in (check, show):
        sub.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the same as -c FILE")
        add_config_arguments(sub)
    actions.add_parser("schema", help="print the JSON schema: every key, unit, bound and default")


def run(args: argparse.Namespace) -> int:
    """Raises ConfigError where the configuration is not valid, SecretMissingError for a credential
    that cannot be used, MissingDependencyError where a sink's package is missing."""
    if args.action == "schema":
        say_json(Config.model_json_schema())
        return 0
    args.config = one_of(args.config, args.file, "-c")
    config = config_of(args)
    if args.action == "check":
        _check_credentials(config)
        say(f"{args.config or 'built-in defaults'}: valid")
        say(f"not checked: whether the files exist ({same_config('doctor', args)})")
        return 0
    import yaml

    plain = config.model_dump(mode="json")
    shown = redact_values(plain, redact_address)
    if shown != plain:
        say(f"# {HIDDEN} stands for a secret that is not shown")
    say_text(yaml.safe_dump(shown, sort_keys=False))
    return 0


def _check_credentials(config: Config) -> None:
    """Read what the configuration names, where it is handed over; else say that it was not."""
    from jetson_face.service.plumbing import check_sinks
    from jetson_face.service.states import build_states

    names = credentials_of(config)
    if names and not os.environ.get("CREDENTIALS_DIRECTORY"):
        say(
            f"not checked: the credential{'s' if len(names) > 1 else ''} {', '.join(names)}; "
            "`sudo jetson-face service exec config check` does",
            err=True,
        )
        return
    for name in names:
        credential(name)
    check_sinks(config)
    build_states(config.service.home_assistant, [], dict, None)


def credentials_of(config: Config) -> list[str]:
    """The names of the credentials that a configuration wants, each once."""
    names = [name for source in config.sources for name in credentials_in(source.uri)]
    for sink in config.service.sinks:
        if isinstance(sink, WebhookConfig):
            names += [*credentials_in(sink.url), *filter(None, [sink.token_credential])]
        elif isinstance(sink, MqttConfig):
            names += filter(None, [sink.password_credential])
    if config.service.home_assistant is not None:
        names += filter(None, [config.service.home_assistant.password_credential])
    return list(dict.fromkeys(names))
