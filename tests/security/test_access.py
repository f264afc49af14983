"""Which address may be asked, and which key it gets."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from llmbatch.errors import PipelineError, UsageError
from llmbatch.pipeline import load
from llmbatch.providers import access
from llmbatch.scrub import scrub
from llmbatch.settings import ProviderSettings
from tests.pipeline.conftest import folder

__all__ = ["folder"]

pytestmark = pytest.mark.short

KEY = "planted-4fQx7Kd0aB3cD5eF7gH9iJ"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def key_for(**settings: Any) -> str:
    provider = ProviderSettings(**settings)
    return access.api_key(provider, access.base_url(provider))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://eu.api.openai.com/v1",
        "http://localhost:8000/v1",
        "http://127.0.0.1:8000/v1",
        "http://[::1]:8000/v1",
        "http://127.8.8.8/v1",
    ],
)
def test_the_usual_key_goes_to_openai_and_to_this_machine(url: str) -> None:
    assert key_for(base_url=url) == KEY


@pytest.mark.parametrize("host", ["gateway.corp.test", "openai.com.evil.test", "127.0.0.1.evil.test", "notopenai.com"])
def test_the_usual_key_goes_to_no_other_host_that_a_file_names(host: str) -> None:
    with pytest.raises(UsageError, match="which key is for it") as caught:
        key_for(base_url=f"https://{host}/v1")
    assert "api_key_env" in (caught.value.hint or "")
    assert key_for(base_url=f"https://{host}/v1", api_key_env="OPENAI_API_KEY") == KEY


def test_a_person_who_names_the_address_means_the_usual_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(folder, overrides=["provider.base_url=https://gateway.test/v1"]).settings.provider
    assert access.api_key(settings, access.base_url(settings)) == KEY
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.test/v1")
    assert access.base_url(ProviderSettings()) == "https://gateway.test/v1"
    assert key_for() == KEY


def test_a_key_of_its_own_stays_with_a_pipeline_that_is_sent_elsewhere(folder: Path) -> None:
    toml = folder / "pipeline.toml"
    toml.write_text(toml.read_text() + '[provider]\napi_key_env = "GATEWAY_KEY"\n')
    settings = load(folder, overrides=["provider.base_url=https://gateway.test/v1"]).settings.provider
    with pytest.raises(UsageError, match="GATEWAY_KEY is not set"):
        access.api_key(settings, access.base_url(settings))


@pytest.mark.parametrize("host", ["gateway.invalid", "10.0.0.5", "192.168.1.7", "127.0.0.1.evil.invalid", "[fd00::5]"])
def test_clear_text_to_another_machine_must_be_asked_for(host: str) -> None:
    settings = {"base_url": f"http://{host}/v1", "api_key_env": "OPENAI_API_KEY"}
    with pytest.raises(UsageError, match="in clear text") as caught:
        key_for(**settings)
    assert "--allow-insecure" in (caught.value.hint or "")
    assert key_for(**settings, allow_insecure=True) == KEY


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.1.1/v1",
        "http://2852039166/v1",
        "http://0xA9FEA9FE/v1",
        "http://[fe80::1]/v1",
        "https://[fe80::1%25eth0]/v1",
        "https://[::ffff:169.254.169.254]/v1",
        "http://[fd00:ec2::254]/v1",
        "http://100.100.100.200/v1",
        "https://metadata.google.internal/v1",
    ],
)
def test_metadata_and_link_local_addresses_are_refused_always(url: str) -> None:
    with pytest.raises(UsageError, match="metadata"):
        key_for(base_url=url, api_key_env="OPENAI_API_KEY", allow_insecure=True)


def test_a_name_that_leads_to_a_metadata_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(UsageError, match="metadata"):
        key_for(base_url="http://innocent.test/v1", api_key_env="OPENAI_API_KEY", allow_insecure=True)


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{KEY}@host/v1",
        f"https://{KEY}@host/v1",
        f"https://host/v1?key={KEY}",
        f"https://host/v1#{KEY}",
        f"{KEY}",
        f"ftp://{KEY}/v1",
        f"https://host:{KEY}/v1",
        f"https://[{KEY}/v1",
    ],
)
def test_a_secret_in_the_address_is_refused_and_not_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UsageError) as caught:
        access.base_url(ProviderSettings(base_url=url))
    assert KEY.lower() not in f"{caught.value.message}{caught.value.hint}".lower()


@pytest.mark.parametrize("value", [f"{KEY}\nX-Evil: 1", f"{KEY} and more", f"{KEY}é", f"a\x00{KEY}"])
def test_a_key_that_would_break_the_header_is_refused_and_not_repeated(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text(value)
    with pytest.raises(UsageError, match="strange characters") as caught:
        key_for(api_key_file=str(file))
    assert KEY not in caught.value.message


def key_file(path: Path, mode: int = 0o600) -> str:
    path.write_text(f"{KEY}\n")
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_of_ones_own_is_read_and_its_key_is_hidden_from_then_on(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert key_for(api_key_file=key_file(tmp_path / "key", mode)) == KEY
    assert KEY not in scrub(f"the server says {KEY}")


def test_a_key_file_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    key_file(tmp_path / "key")
    assert key_for(api_key_file="~/key", base_url="https://gateway.test/v1") == KEY


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666, 0o620])
def test_a_key_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    name = key_file(tmp_path / "key", mode)
    (tmp_path / "link").symlink_to(name)
    for path in (name, str(tmp_path / "link")):
        with pytest.raises(UsageError, match=f"can be read by others .mode {mode:04o}") as caught:
            key_for(api_key_file=path)
        assert "chmod 600" in (caught.value.hint or "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_key_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    name = key_file(tmp_path / "key")
    os.chown(name, 65534, 65534)
    with pytest.raises(UsageError, match="belongs to another user"):
        key_for(api_key_file=name)
    (tmp_path / "link").symlink_to(key_file(tmp_path / "mine"))
    os.chown(tmp_path / "link", 65534, 65534, follow_symlinks=False)
    with pytest.raises(UsageError, match="a link that belongs to another user"):
        key_for(api_key_file=str(tmp_path / "link"))


def test_what_is_no_key_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, words in (("absent", "No such file"), ("pipe", "no regular file"), (".", "Is a directory")):
        with pytest.raises(UsageError, match=words):
            key_for(api_key_file=str(tmp_path / name))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('api_key_env = "3f2b9c0d1e4a5b6c7d8e9f0a1b2c3d4e"', "name of an environment variable"),
        ('api_key_env = "a3f2b9c0d1e4a5b6c7d8e9f0a1b2c3d4e"', "name of an environment variable"),
        ('api_key_env = "other-4fQx7Kd0aB3cD5eF7gH9iJ"', "name of an environment variable"),
        ('api_key_file = "other-4fQx7Kd0aB3cD5eF7gH9iJ"', "a path from the root"),
        ('api_key = "other-4fQx7Kd0aB3cD5eF7gH9iJ"', "did you mean 'provider.api_key_env'"),
        (f'api_key = "{KEY}"', "provider.api_key holds an API key"),
        ('api_key_env = "A_KEY"\napi_key_file = "/run/key"', "both set"),
        ('base_url = "https://user:sesame@host/v1"', "holds a user, a password or a query"),
        ('base_url = "https://host/v1?key=sesame"', "holds a user, a password or a query"),
        ('base_url = "https://host/sk-4fQx7Kd0aB3cD5eF7gH9iJ/v1"', "holds an API key"),
    ],
)
def test_keys_in_pipeline_toml_are_refused_with_the_line_and_not_repeated(folder: Path, table: str, words: str) -> None:
    toml = folder / "pipeline.toml"
    toml.write_text(toml.read_text() + f"[provider]\n{table}\n")
    with pytest.raises(PipelineError, match=words) as caught:
        load(folder)
    told = f"{caught.value.message} {caught.value.hint}"
    for secret in (KEY, "3f2b9c0d", "sesame", "4fQx"):
        assert secret not in told
    assert "pipeline.toml" in told


@pytest.mark.parametrize(
    "key", ["request.system", "request.model", "label", "provider.base_url", "request.params.user"]
)
def test_keys_on_the_command_line_are_refused(folder: Path, key: str) -> None:
    with pytest.raises(PipelineError, match=f"--set {key}: {key} holds an API key") as caught:
        load(folder, overrides=[f"{key}=sk-4fQx7Kd0aB3cD5eF7gH9iJ"])
    assert "4fQx" not in caught.value.message


def test_the_value_of_a_secret_variable_is_refused_in_a_pipeline(folder: Path) -> None:
    with pytest.raises(PipelineError, match="holds an API key"):
        load(folder, overrides=[f"provider.base_url=https://host/{KEY}/v1"])


def test_keys_in_hooks_are_refused_for_the_ledger_keeps_their_text(folder: Path) -> None:
    (folder / "hooks.py").write_text('import os\nKEY = "sk-4fQx7Kd0aB3cD5eF7gH9iJ"\n')
    with pytest.raises(PipelineError, match=r"hooks\.py:2: holds an API key"):
        load(folder)
