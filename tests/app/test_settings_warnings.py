from __future__ import annotations

from pathlib import Path

import pytest

from app.settings_warnings import unread_names


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "LITTELLM_BASE_URL=http://x",
            "LITTELLM_BASE_URL is not a setting of the gateway. Did you mean LITELLM_BASE_URL?",
        ),
        (
            "export shutdown_grace=3",
            "SHUTDOWN_GRACE is not a setting of the gateway. Did you mean SHUTDOWN_GRACE_SECONDS?",
        ),
        ("COMPOSE_PROJECT_NAME=s3cret", "COMPOSE_PROJECT_NAME is not a setting of the gateway."),
        ("PORT", "'PORT' has no value. Write NAME=value."),
        ("PORT: s3cret", "line 2 cannot be read. Write NAME=value."),
        ("\r\n\r\n  s3cret", "line 4 has no value. Write NAME=value."),
        ("s3cret==", "line 2 is not a setting of the gateway."),
        ("s3/cret=x", "line 2 is not a setting of the gateway."),
        ("\r\nPORT: s3cret", "line 3 cannot be read. Write NAME=value."),
    ],
)
def test_a_line_that_sets_nothing_is_reported(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(f"\ufeffLOG_LEVEL=INFO # not DEBUG\r\n{line}\r\n".encode())
    assert unread_names({}, path) == [f"{path}: {said}"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LITTELLM_BASE_URL", "LITELLM_BASE_URL"),
        ("STREAM_GRACE_SECOND", "STREAM_GRACE_SECONDS"),
        ("RATE_LIMIT_LMM", "RATE_LIMIT_LLM"),
        ("SUPABASE_JWT_SECRETS", "SUPABASE_JWT_SECRET"),
    ],
)
def test_a_misspelled_variable_is_reported_unless_the_setting_is_set(name: str, meant: str, tmp_path: Path) -> None:
    [said] = unread_names({name: "x"}, tmp_path / "none")
    assert said == f"{name} is set in the environment and is not a setting of the gateway. Did you mean {meant}?"
    assert unread_names({name: "x", meant: "y"}, tmp_path / "none") == []


def test_variables_of_other_programs_are_not_reported(tmp_path: Path) -> None:
    others = """HOSTNAME HOST PORTS LOGLEVEL LETTA_PG_URI LETTA_PG_POOL_SIZE LETTA_SERVER_PASSWORD LITELLM_MASTER_KEY
    LITELLM_LOG LITELLM_SALT_KEY SUPABASE_ANON_KEY SUPABASE_SERVICE_ROLE_KEY SUPABASE_DB_URL REDIS_HOST REDIS_PORT
    METRICS_PORT OPENAI_API_KEY OPENAI_BASE_URL PUBLIC_HOST ENVIRON XDG_DATA_HOME PATH"""
    assert unread_names(dict.fromkeys(others.split(), "x"), tmp_path / "none") == []


def test_empty_and_repeated_lines_are_not_reported_twice(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# a comment\n\nOTHER=\nSHUTDOWN_GRACE=1\nSHUTDOWN_GRACE=2\n")
    [said] = unread_names({}, path)
    assert said.startswith(f"{path}: SHUTDOWN_GRACE is not")


def test_a_folder_instead_of_the_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert unread_names({}, tmp_path / ".env") == [
        f"{tmp_path / '.env'} is a folder, so the gateway reads no settings from it. Replace the folder with a file."
    ]
