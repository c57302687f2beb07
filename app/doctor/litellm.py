"""Checks of LiteLLM: its version, its database and the gateway's key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar

from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, listed, ok, problem, shown, warning
from app.doctor.identity import numbers_in
from app.doctor.installation import LITELLM_MASTER_KEY, Installation, Server, is_embedded
from app.doctor.servers import missing, refused
from app.setting_kinds import header_secret
from clients.calls import Answer
from clients.decode import UNREADABLE
from clients.errors import Service
from clients.litellm import ALIVE_PATH, CALLED_ROUTES, DETAILS, KEY, READY, KeyFacts, Reading

EXPIRY_DAYS = 7
"""A key that expires earlier is a warning."""

T = TypeVar("T")

TESTED = ((1, 106), (1, 110))
_SAFE_106, _SAFE = (1, 106, 12), (1, 110, 2)
"""The first releases without published security advisories: of the line 1.106, and of all later lines."""


def site_of(installation: Installation) -> Server:
    """Return LiteLLM."""
    return installation.service(Service.LITELLM)


async def no_embedded(installation: Installation) -> None:
    """Raise NotChecked if LiteLLM is the embedded one, which has no configuration."""
    if is_embedded(await site_of(installation).answer(ALIVE_PATH)):
        raise NotChecked("The embedded LiteLLM has no configuration.")


def key_of(installation: Installation) -> str:
    """Return ``LITELLM_API_KEY``. Raises NotChecked if it is not set."""
    site_of(installation)
    if installation.platform_key is None:
        raise NotChecked("LITELLM_API_KEY is not set, and the doctor has no user's key.")
    return installation.platform_key


async def is_admin(installation: Installation, key: str) -> bool:
    """Return whether a key is LiteLLM's master key, or an administrator's."""
    answer = await site_of(installation).answer(DETAILS.path, key=key)
    return answer.status == 200 and not is_embedded(answer)


async def admin_key(installation: Installation) -> str:
    """Return a key with which LiteLLM tells its settings. Raises NotChecked if the doctor has none."""
    wrong = header_secret(installation.admin_key or "")
    if wrong is not None:
        raise NotChecked(f"{LITELLM_MASTER_KEY} in the doctor's environment cannot be sent: it {wrong}.")
    for key in (installation.admin_key, installation.platform_key):
        if key is not None and await is_admin(installation, key):
            return key
    if installation.admin_key is not None:
        raise NotChecked(f"{LITELLM_MASTER_KEY} in the doctor's environment is no administrator's key of this LiteLLM.")
    raise NotChecked(
        f"LiteLLM tells this only to an administrator. For this check, set {LITELLM_MASTER_KEY} in the doctor's "
        "environment."
    )


def read(answer: Answer, reading: Reading[T]) -> T:
    """Decode a successful answer of LiteLLM. Raises NotChecked for any other answer."""
    if answer.status != 200:
        raise NotChecked(f"LiteLLM answers {reading.path} with status {answer.status}.")
    try:
        return reading.of(answer.body)
    except UNREADABLE as error:
        raise NotChecked(f"LiteLLM's answer to {reading.path} has an unknown form.") from error


async def version_of(installation: Installation) -> tuple[int, ...]:
    """Return LiteLLM's version. Raises NotChecked if LiteLLM does not tell it."""
    site = site_of(installation)
    text = read(await site.answer(READY.path), READY).version
    if text is None:
        text = read(await site.answer(DETAILS.path, key=await admin_key(installation)), DETAILS).version
    numbers = numbers_in(text or "")
    if len(numbers) < 2:
        raise NotChecked("LiteLLM does not tell its version.")
    return numbers


async def _version(installation: Installation) -> Finding:
    await no_embedded(installation)
    version = await version_of(installation)
    text, line = ".".join(map(str, version)), version[:2]
    if version < (_SAFE_106 if line == _SAFE_106[:2] else _SAFE):
        return warning(
            f"LiteLLM's version is {text}. Releases before 1.106.12 and 1.110.2 have published security advisories.",
            "Install 1.106.12 or a later release of 1.106, or 1.110.2.",
        )
    if line not in TESTED:
        return warning(
            f"LiteLLM's version is {text}. The gateway is tested with 1.106 and 1.110.",
            "Before you use this version, run `make test-real` with it.",
        )
    return ok(f"LiteLLM's version is {text}.")


async def _database(installation: Installation) -> Finding:
    answer = await site_of(installation).answer(READY.path)
    try:
        database = READY.of(answer.body).db
    except UNREADABLE:
        raise NotChecked(f"LiteLLM answers {READY.path} in an unknown form.") from None
    if database == "connected":
        return ok("LiteLLM is connected to its database.")
    if answer.status >= 500 or database == "disconnected":
        return problem(
            f"LiteLLM cannot reach its database (status {answer.status}, db: {shown(database)}), so it refuses keys.",
            "Check LiteLLM's DATABASE_URL and the database.",
        )
    return warning(
        "LiteLLM has no database, so there are no virtual keys, budgets and usage of users.",
        "Start LiteLLM with DATABASE_URL.",
    )


_RAISE = "Raise the key's `max_budget` (`POST /key/update`), or wait until the budget is reset."


async def _password(installation: Installation) -> Finding:
    answer = await site_of(installation).answer("/v1/models")
    if answer.status == 200:
        return problem(
            "LiteLLM answers calls without a key: everybody who reaches LiteLLM can call every model at your cost.",
            "Set `general_settings: {master_key: …}` in LiteLLM's configuration.",
        )
    if not refused(answer):
        raise NotChecked(f"LiteLLM answers calls without a key with status {answer.status}, which shows no refusal.")
    return ok(f"LiteLLM refuses calls without a key with status {answer.status}.")


async def _accepted(installation: Installation) -> Finding:
    key = key_of(installation)
    answer = await site_of(installation).answer("/v1/models", key=key)
    if refused(answer):
        return problem(
            f"LiteLLM refuses LITELLM_API_KEY with status {answer.status}: the key is unknown, expired or blocked, or "
            "its `allowed_routes` do not contain llm_api_routes.",
            "Set LITELLM_API_KEY to a virtual key of this LiteLLM.",
        )
    if answer.status != 200 and b"budget" in answer.body.lower():
        return problem("The budget of LITELLM_API_KEY is spent, so LiteLLM refuses the key.", _RAISE)
    if answer.status != 200:
        return problem(f"LiteLLM answers /v1/models with status {answer.status}.", "Check LiteLLM's log.")
    if await is_admin(installation, key):
        return warning(
            "LITELLM_API_KEY is LiteLLM's master key, or an administrator's key, which can do everything in LiteLLM.",
            "Generate a virtual key (`POST /key/generate`) with a user and a budget, and set LITELLM_API_KEY to it.",
        )
    return ok("LiteLLM accepts LITELLM_API_KEY.")


async def _facts(installation: Installation) -> KeyFacts:
    key = key_of(installation)
    if await is_admin(installation, key):
        raise NotChecked("LITELLM_API_KEY is an administrator's key, which has no limits.")
    facts = read(await site_of(installation).answer(KEY.path, key=key), KEY).info
    if not all(amount is None or amount.is_finite() for amount in (facts.spend, facts.max_budget)):
        raise NotChecked(f"LiteLLM's answer to {KEY.path} has an amount that is no number.")
    return facts


async def _routes(installation: Installation) -> Finding:
    key = key_of(installation)
    answer = await site_of(installation).answer(KEY.path, key=key)
    cure = f"Add {listed(CALLED_ROUTES)} to the key's `allowed_routes` (`POST /key/update`), or remove all of them."
    if refused(answer):
        return problem(f"LiteLLM refuses {KEY.path} with LITELLM_API_KEY, so the gateway cannot read budgets.", cure)
    if missing(answer):
        raise NotChecked("LITELLM_API_KEY is no virtual key.")
    routes = read(answer, KEY).info.allowed_routes or []
    absent = [one for one in CALLED_ROUTES if one not in routes]
    if routes and absent:
        return problem(f"The `allowed_routes` of LITELLM_API_KEY lack {listed(absent)}.", cure)
    return ok("LITELLM_API_KEY may call all routes that the gateway calls.")


async def _user(installation: Installation) -> Finding:
    if (await _facts(installation)).user_id is None:
        return warning(
            "LITELLM_API_KEY belongs to no LiteLLM user, so `viewer { usage }` fails for users without their own key.",
            "Set the key's `user_id` (`POST /key/update`).",
        )
    return ok("LITELLM_API_KEY belongs to a LiteLLM user.")


async def _budget(installation: Installation) -> Finding:
    facts = await _facts(installation)
    if facts.blocked:
        return problem("LITELLM_API_KEY is blocked.", "Unblock the key (`POST /key/unblock`).")
    if facts.max_budget is not None and facts.spend >= facts.max_budget:
        return problem(
            f"The budget of LITELLM_API_KEY is spent: {facts.spend} of {facts.max_budget} US dollars.",
            _RAISE,
        )
    if facts.expires is not None and _aware(facts.expires) < datetime.now(UTC) + timedelta(days=EXPIRY_DAYS):
        return warning(
            f"LITELLM_API_KEY expires at {facts.expires.isoformat()}.",
            "Extend the key (`POST /key/update` with `duration`), or set LITELLM_API_KEY to a new key.",
        )
    return ok("LITELLM_API_KEY is valid, and its budget is not spent.")


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


_SERVER, _KEY = ("litellm.server",), ("litellm.key",)

CHECKS = (
    Check(
        name="litellm.version",
        looks_at="a version of LiteLLM that has published security advisories, or is not tested",
        run=_version,
        needs=_SERVER,
    ),
    Check(
        name="litellm.database",
        looks_at="a LiteLLM without a database, or without a connection to it (`DATABASE_URL`)",
        run=_database,
        needs=_SERVER,
    ),
    Check(
        name="litellm.password",
        looks_at="a LiteLLM that answers calls without a key (`general_settings: {master_key}`)",
        run=_password,
        needs=_SERVER,
    ),
    Check(
        name="litellm.key",
        looks_at="a wrong `LITELLM_API_KEY`, or a `LITELLM_API_KEY` that is LiteLLM's master key",
        run=_accepted,
        needs=_SERVER,
    ),
    Check(
        name="litellm.routes",
        looks_at="`allowed_routes` of `LITELLM_API_KEY` that lack a route that the gateway calls",
        run=_routes,
        needs=_KEY,
    ),
    Check(name="litellm.user", looks_at="a `LITELLM_API_KEY` without a `user_id`", run=_user, needs=_KEY),
    Check(
        name="litellm.budget",
        looks_at=f"a `LITELLM_API_KEY` that is blocked, has spent its budget, or expires within {EXPIRY_DAYS} days",
        run=_budget,
        needs=_KEY,
    ),
)
"""The checks of LiteLLM and of the gateway's key, after those of its address and server."""
