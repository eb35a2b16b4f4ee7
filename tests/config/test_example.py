"""`config.example.yml` is the manual: it must tell of every key, and of no other."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, BeforeValidator

from streamproxy.config import (
    ApiConfig,
    BackupConfig,
    Config,
    FailoverConfig,
    HlsConfig,
    LogConfig,
    OptionsConfig,
    PlaylistConfig,
    ProfileConfig,
    RelayConfig,
    RetryConfig,
    ServerConfig,
    SlateConfig,
    StreamConfig,
    StrictLiveTsConfig,
    TranscodeConfig,
    WebhookConfig,
    load,
)
from streamproxy.config.document import compose
from streamproxy.config.folders import default_cache_dir, default_state_dir
from streamproxy.config.tags import tags
from streamproxy.config.transcoding import Bitrate
from streamproxy.config.values import Number, Whole

EXAMPLE = Path(__file__).parents[2] / "config.example.yml"
HIDDEN = re.compile(r"^( +)#(?! \S)|^()#(?=\S)", re.MULTILINE)
"""What hides a setting: see the example's introduction."""
SECTIONS: dict[str, type[BaseModel]] = {
    "server": ServerConfig,
    "options": OptionsConfig,
    "relay": RelayConfig,
    "retry": RetryConfig,
    "failover": FailoverConfig,
    "slate": SlateConfig,
    "strict_live_ts": StrictLiveTsConfig,
    "hls": HlsConfig,
    "transcode": TranscodeConfig,
    "api": ApiConfig,
    "log": LogConfig,
}
EXAMPLES: dict[str, dict[str, Any]] = {"transcode": {"profiles": {}}}
DERIVED = {"name", "cache_dir", "state_dir"}
"""Keys for which null is not the default itself but has it worked out."""


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "provider").write_text("https://second.example/list.m3u")
    return {"CREDENTIALS_DIRECTORY": str(tmp_path)}


@pytest.fixture
def uncovered() -> str:
    return HIDDEN.sub(r"\1", EXAMPLE.read_text())


@pytest.fixture
def settings(uncovered: str, credentials: dict[str, str]) -> dict[str, Any]:
    root, mistakes = compose(uncovered.encode(), "config.example.yml", tags(credentials))
    assert mistakes == []
    plain = root.plain()
    assert isinstance(plain, dict)
    return plain


def assert_defaults(section: type[BaseModel], shown: dict[str, Any], **required: str) -> None:
    assert set(shown) == set(section.model_fields)
    for key, value in shown.items():
        shows_default = value is not None or section.model_fields[key].default is None or key in DERIVED
        assert shows_default, f"{key} does not show its default"
    assert section.model_validate(shown) == section.model_validate(required)


def test_example_loads_as_it_is_and_changes_nothing() -> None:
    environ = {"HOME": "/home/somebody"}

    assert load(EXAMPLE, environ) == Config(cache_dir=default_cache_dir(environ), state_dir=default_state_dir(environ))


def test_example_loads_with_every_setting_uncovered(
    uncovered: str, credentials: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "config.yml"
    path.write_text(uncovered)

    config = load(path, credentials)

    assert (len(config.playlists), len(config.streams)) == (4, 4)
    assert config.playlists[2].url == "https://second.example/list.m3u"


def test_example_names_every_section(settings: dict[str, Any]) -> None:
    assert set(settings) == set(Config.model_fields)


@pytest.mark.parametrize("name", SECTIONS)
def test_example_shows_every_key_of_a_section_at_its_default(settings: dict[str, Any], name: str) -> None:
    # Profiles and what else is named by a user are examples.
    assert_defaults(SECTIONS[name], {**settings[name], **EXAMPLES.get(name, {})})


def test_example_shows_every_key_of_a_list_at_its_default(settings: dict[str, Any]) -> None:
    entry = settings["playlists"][-1]

    assert_defaults(PlaylistConfig, entry, url=entry["url"])


def test_example_shows_every_key_of_a_stream_at_its_default(settings: dict[str, Any]) -> None:
    assert_defaults(StreamConfig, settings["streams"]["films"])


def test_example_shows_every_key_of_a_backup_at_its_default(settings: dict[str, Any]) -> None:
    entry = settings["streams"]["movies"]["failover"][-1]

    assert_defaults(BackupConfig, entry, url=entry["url"])


def test_example_shows_every_key_of_a_profile_at_its_default(settings: dict[str, Any]) -> None:
    assert_defaults(ProfileConfig, settings["transcode"]["profiles"]["small"])


def test_example_shows_every_key_of_a_webhook_at_its_default(settings: dict[str, Any]) -> None:
    entry = settings["webhooks"][-1]

    assert_defaults(WebhookConfig, entry, url=entry["url"])


WITH_NUMBERS = [*SECTIONS.values(), PlaylistConfig, ProfileConfig, WebhookConfig]


@pytest.mark.parametrize("section", WITH_NUMBERS, ids=lambda section: section.__name__)
def test_example_tells_the_limits_of_every_number(uncovered: str, section: type[BaseModel]) -> None:
    for key, field in section.model_fields.items():
        checks = [check.func for check in field.metadata if isinstance(check, BeforeValidator)]
        for check in checks:
            if isinstance(check, Whole | Number | Bitrate):
                explanations = re.findall(rf"((?:^ *# .*\n)+) *{key}:", uncovered, re.MULTILINE)
                limits = f"{check.minimum:.15g} to {check.maximum:.15g}"
                assert any(limits in explanation for explanation in explanations), f"{key}: {limits}"


def test_example_begins_with_a_file_of_five_lines_that_works(tmp_path: Path) -> None:
    block = re.search(r"(?:^#     .*\n)+", EXAMPLE.read_text(), re.MULTILINE)
    assert block
    path = tmp_path / "config.yml"
    path.write_text(re.sub(r"^#", "", block[0], flags=re.MULTILINE))

    config = load(path, {})

    assert block[0].count("\n") == 5
    assert (len(config.playlists), list(config.streams)) == (1, ["news"])
