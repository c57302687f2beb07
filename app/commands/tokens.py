"""``agentgraph token``, ``password`` and ``agent-secret``: print a user's token, password or agent secret."""

import argparse
import uuid

from app import devtokens
from app.embedded.people import PEOPLE
from app.settings import Settings
from app.usage import UsageError


def token(options: argparse.Namespace) -> None:
    """Print a development token."""
    _check_development()
    print(development_token(options.user, hours=options.hours, admin=options.admin))


def password(_: argparse.Namespace) -> None:
    """Print the password with which development users sign in through supabase-js."""
    _check_development()
    print(devtokens.password())


def _check_development() -> None:
    if not Settings.load().development_tokens:
        raise UsageError(
            "development tokens are not accepted, because Supabase is configured or ENVIRONMENT is production"
        )


def development_token(user: str, *, hours: float = devtokens.LIFETIME_SECONDS / 3600, admin: bool = False) -> str:
    """Return a development token for the user with this name or id. Raise UsageError if no such user exists."""
    user_id, email = _person(user)
    key = devtokens.signing_key()
    return devtokens.make_token(key, user_id=user_id, email=email, lifetime_seconds=hours * 3600, admin=admin)


def secret(options: argparse.Namespace) -> None:
    """Print a user's agent secret."""
    from app.rest.secrets import agent_secret  # noqa: PLC0415 - ``agentgraph token`` does not need the module

    key = devtokens.master_key(Settings.load())
    if key is None:
        raise UsageError(
            "AGENT_SECRET_MASTER_KEY: required, because Supabase is configured or ENVIRONMENT is production"
        )
    print(agent_secret(key, _person(options.user)[0]))


def _person(user: str) -> tuple[str, str | None]:
    user_id, email, _ = PEOPLE.get(user.lower(), (user, None, None))
    try:
        return str(uuid.UUID(user_id)), email
    except ValueError as error:
        raise UsageError(f"the user {user} does not exist. Use {', '.join(PEOPLE)} or a UUID.") from error
