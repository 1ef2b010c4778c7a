"""Names of folders from what a scan says of itself, which may be anything."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from streamer.flow.folder_template import FolderTemplate, filled
from streamer.frames import NAME, BadInput, ScanSpec

SPEC = ScanSpec("scan-1", "weevil", 16, 32, 90, metadata={"proposal": "ev2026-17", "sample": "not this", "year": "0"})
NOON = time.mktime((2026, 3, 9, 12, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("text", "folders"),
    [
        ("{year}/{proposal}/{sample}", ("2026", "ev2026-17", "weevil")),
        ("raw/{year}-{month}-{day}/{scan_id}", ("raw", "2026-03-09", "scan-1")),
        ("", ()),
    ],
)
def test_a_scan_has_its_folders(text: str, folders: tuple[str, ...]) -> None:
    assert FolderTemplate(text).folders(SPEC, NOON) == folders


@pytest.mark.parametrize(
    "text",
    ["/data", "a/../b", "..", ".hidden", "a//b", "a/", "{Year}", "{}", "{a", "a b", "~/x", "/".join("abcdefghi")],
)
def test_a_template_that_leads_elsewhere_makes_no_sense(text: str) -> None:
    with pytest.raises(ValueError, match="names with placeholders"):
        FolderTemplate(text)


@pytest.mark.parametrize(
    "hostile",
    ["", ".", "..", "../../etc", "/etc/cron.d", "a/b", "a\0b", "a\nb", " a", "-rf", "~root", "a" * 101, "{year}", "ü"],
)
def test_a_hostile_proposal_is_refused_in_one_line(hostile: str) -> None:
    spec = structs.replace(SPEC, metadata={"proposal": hostile})
    with pytest.raises(BadInput, match=r"scan scan-1: metadata\.proposal is .* needs a name") as refused:
        FolderTemplate("{year}/{proposal}").folders(spec, NOON)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=120))
def test_whatever_a_scan_says_a_folder_is_a_plain_name_or_none(text: str) -> None:
    spec = structs.replace(SPEC, metadata={"proposal": text})
    try:
        (folder,) = FolderTemplate("{proposal}").folders(spec, NOON)
    except BadInput:
        assert not NAME.fullmatch(text)
    else:
        assert NAME.fullmatch(folder)


def test_what_a_scan_does_not_say_is_asked_for() -> None:
    with pytest.raises(BadInput, match=r"scan scan-1: \{visit\} needs 'visit'; give it in the metadata of the scan"):
        filled("{visit}", SPEC, NOON)


def test_the_first_part_of_a_group_is_found() -> None:
    template = FolderTemplate("{year}/{proposal}/{sample}")
    assert (template.first_with("{proposal}"), template.first_with("beamline")) == (1, 0)
