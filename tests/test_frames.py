"""The form of a verdict outside the process, and the documented table of reasons."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamer.advice import ADVICE, advice
from streamer.flow.wire import pack, unpack
from streamer.frames import NOT_JUDGED, BadInput, Decision, Reason, ReasonCode, Verdict
from tests.paths import ROOT

MOVED = Verdict(
    Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved by 3 px"), Reason(ReasonCode.TRUNCATED, "cut, über")), True
)


def render_reasons() -> str:
    """The table of reasons in Markdown, which ``docs/reasons.md`` shows."""
    rows = [f"| `{code}` | {code.decision or ''} | {code.meaning} |" for code in ReasonCode]
    return "\n".join(["| code | decision | meaning |", "|---|---|---|", *rows]) + "\n"


def test_the_documented_table_of_reasons_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    assert render_reasons() in text
    for decision in Decision:
        assert f"| {decision} | " in text


def test_every_reason_says_what_to_do() -> None:
    rows = [f"| `{code}` | {ADVICE[code]} |" for code in ReasonCode]
    table = "\n".join(["| code | what to do |", "|---|---|", *rows]) + "\n"
    assert table in (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (None, ""),
        (MOVED, ADVICE[ReasonCode.MOTION]),
        (Verdict(Decision.RETAKE, (MOVED.reasons[1], MOVED.reasons[0]), True), ADVICE[ReasonCode.MOTION]),
        (Verdict(Decision.CONTINUE), "Let it run."),
        (Verdict(Decision.ENOUGH, final=True), "Go on with the next sample."),
        (Verdict(Decision.UNKNOWN), ""),
    ],
)
def test_the_deciding_reason_says_what_to_do(verdict: Verdict | None, words: str) -> None:
    assert advice(verdict) == words


def test_every_reason_has_a_meaning_of_one_line() -> None:
    assert ReasonCode("motion") is ReasonCode.MOTION
    for code in ReasonCode:
        assert code.value == code.name.lower()
        assert code.meaning
        assert not set("\n|") & set(code.meaning)


@pytest.mark.parametrize("verdict", [MOVED, NOT_JUDGED, Verdict(Decision.CONTINUE)])
def test_a_verdict_survives_json_and_the_wire(verdict: Verdict) -> None:
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
    assert Verdict.from_dict(unpack(pack({"scan_id": "s", **verdict.to_dict()}))) == verdict


def test_a_verdict_reads_as_decision_codes_and_sentences() -> None:
    assert str(MOVED) == "RETAKE: motion: it moved by 3 px; truncated: cut, über"
    assert str(Verdict(Decision.CONTINUE)) == "CONTINUE"


def test_what_a_newer_version_says_is_kept() -> None:
    newer = Verdict.from_dict({"verdict": "DEFROST", "reasons": [{"code": "ice", "text": "it is cold"}], "final": True})
    assert newer.decision is Decision.UNKNOWN
    assert newer.codes == (ReasonCode.OTHER, ReasonCode.OTHER)
    assert "DEFROST" in newer.reasons[0].text
    assert newer.reasons[1].text == "it is cold"
    assert newer.final


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"verdict": None, "reasons": []},
        {"verdict": "ENOUGH"},
        {"verdict": "ENOUGH", "reasons": "fine"},
        {"verdict": "ENOUGH", "reasons": ["fine"]},
        {"verdict": "ENOUGH", "reasons": [{"code": "motion"}]},
        {"verdict": "ENOUGH", "reasons": [{"code": 3, "text": "fine"}]},
        {"verdict": "ENOUGH", "reasons": [], "final": 1},
    ],
)
def test_what_is_no_verdict_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="verdict"):
        Verdict.from_dict(wrong)
