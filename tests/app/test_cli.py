from __future__ import annotations

import hmac
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest

from app.banner import banner
from app.cli import main
from app.devtokens import ISSUER, data_dir, signing_key
from app.embedded.people import GRACE
from tests.support.settings import settings_of

_HOURS = [["token", "--hours", hours] for hours in ("nan", "inf", "1e300", "-1", "0", "many")]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_token_signs_its_user_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--user", "grace"]) == 0
    token = capsys.readouterr().out.strip()
    public = signing_key().private.public_key()
    claims = jwt.decode(token, public, algorithms=["ES256"], audience="authenticated", issuer=ISSUER)
    assert (claims["sub"], claims["email"]) == (GRACE, "grace@example.com")
    assert (data_dir() / "dev-signing-key.pem").stat().st_mode & 0o777 == 0o600


def test_no_development_token_where_it_would_not_sign_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUPABASE_URL", "https://x.example")
    for command in ("token", "password"):
        assert main([command]) == 1
        assert capsys.readouterr().err.startswith("agentgraph: development tokens are not accepted")


def test_the_password_stays_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["password"]) == 0
    printed = capsys.readouterr().out
    assert main(["password"]) == 0
    assert (capsys.readouterr().out, len(printed)) == (printed, 13)
    assert (data_dir() / "dev-password").stat().st_mode & 0o777 == 0o600


def test_an_agents_secret_is_the_users_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AGENT_SECRET_MASTER_KEY", "m" * 32)
    monkeypatch.setenv("AGENT_SECRET_MASTER_KEY_PREVIOUS", "p" * 32)  # makes no new secrets
    digest = hmac.new(b"m" * 32, f"agent-secret:v1:{GRACE}".encode(), "sha256").hexdigest()
    for user in ("grace", GRACE, GRACE.upper()):
        assert main(["agent-secret", "--user", user]) == 0
        assert capsys.readouterr().out == f"ag-{GRACE}-{digest}\n"
    assert main(["agent-secret", "--user", "nobody"]) == 1
    assert capsys.readouterr().err.startswith("agentgraph: the user nobody does not exist")


def test_an_agents_secret_on_ones_own_machine_needs_no_setting_and_elsewhere_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["agent-secret", "--user", "ada"]) == 0
    made = capsys.readouterr().out
    assert main(["agent-secret", "--user", "ada"]) == 0
    assert capsys.readouterr().out == made
    assert (data_dir() / "dev-master-key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("SUPABASE_URL", "https://x.example")
    monkeypatch.setenv("SUPABASE_JWT_SECRET", "s" * 32)
    assert main(["agent-secret", "--user", "ada"]) == 1
    assert capsys.readouterr().err.startswith("agentgraph: AGENT_SECRET_MASTER_KEY: required")


def test_wrong_settings_stop_the_start_a_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("PORT=many\nLETTA_BASE_URL=nowhere\n")
    assert main(["serve"]) == 1
    names = sorted(line.removeprefix("agentgraph: ").split(":")[0] for line in capsys.readouterr().err.splitlines())
    assert names == ["LETTA_BASE_URL", "PORT"]


@pytest.mark.parametrize("url", ["ws://127.0.0.1:4500", "wss://agents.example/ws?token=s3cret"])
def test_the_url_of_an_app_server_stops_the_start_with_the_cure(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LETTA_BASE_URL", url)
    monkeypatch.setenv("LETTA_API_KEY", "k")
    assert main(["serve"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("agentgraph: LETTA_BASE_URL: must be an http:// or https:// URL. ")
    assert "A ws:// URL leads to Letta's App Server, which `pip install letta` installs" in line
    assert "Run Letta 0.16.8 (the image letta/letta:0.16.8, or `pip install letta==0.16.8`)" in line
    assert "s3cret" not in line


def test_a_port_that_is_taken_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("PORT", str(taken.getsockname()[1]))
        assert main(["serve"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_processes_that_start_at_once_agree_on_the_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: signing_key().pem, range(64)))
    assert len(made) == 1
    assert len(made.pop()) >= 32
    assert [path.name for path in data_dir().iterdir()] == ["dev-signing-key.pem"]


def test_a_data_folder_that_cannot_be_used_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    for command in ("token", "serve"):
        assert main([command]) == 1
        assert capsys.readouterr().err.startswith(f"agentgraph: cannot use the data folder {tmp_path}")


def test_an_env_file_that_is_no_text_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe")
    assert main(["token"]) == 1
    assert capsys.readouterr().err == "agentgraph: .env: must be UTF-8 text\n"


def test_the_schema_is_printed_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    text = capsys.readouterr().out
    kept = tmp_path / "schema.graphql"
    kept.write_text(text)
    assert main(["schema", "--check", str(kept)]) == 0
    kept.write_text(text.replace("type Agent ", "type Agents "))
    assert main(["schema", "--check", str(kept)]) == 1
    assert "-type Agents implements" in capsys.readouterr().err
    assert main(["schema", "--federation"]) == 0
    kept.write_text(capsys.readouterr().out)
    assert main(["schema", "--federation", "--check", str(kept)]) == 0
    assert main(["schema", "--check", str(kept)]) == 1
    assert '-type Agent implements Node @authenticated @key(fields: "id")' in capsys.readouterr().err
    assert main(["schema", "--federation", "--no-rules"]) == 0
    unruled = capsys.readouterr().out
    assert "@key" in unruled
    assert not re.search("authenticated|requiresScopes", unruled)
    assert main(["schema", "--no-rules"]) == 1
    assert capsys.readouterr().err == "agentgraph: --no-rules: requires --federation\n"
    assert main(["schema", "--check", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("agentgraph: cannot read")


def test_version_and_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [[], ["nope"], ["embedded", "--port", "99999"], ["embedded", "--port", "-1"], *_HOURS]
    for arguments, status in ((["--version"], 0), *((arguments, 2) for arguments in wrong)):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == status
    assert capsys.readouterr().out.startswith("agentgraph 0.")


def test_the_banner_says_what_is_embedded_and_shows_no_secret() -> None:
    settings = settings_of(letta_base_url="https://letta.example", letta_api_key="k" * 20)
    text = banner(settings, version="1", port=8000, token="TOKEN")
    assert "Letta    https://letta.example" in text
    assert "AMS      embedded" in text
    assert "export TOKEN=TOKEN" in text
    assert "k" * 20 not in text


def test_an_interrupt_while_the_command_is_loaded_shows_no_traceback() -> None:
    code = """
import sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == "app.cli":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from app.__main__ import main
sys.exit(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")
