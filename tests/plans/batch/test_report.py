"""What people read afterwards: the report, the table, and why."""

import base64
import csv
import io
import re

import h5py
import numpy as np
import pytest
from PIL import Image

from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import FrameCounts, Report
from streamer.frames import BadInput, Decision, Reason, ReasonCode, Verdict
from streamer_plans.batch.__main__ import main
from streamer_plans.batch.journal import Journal, action_entries, outcome_entries, read_journal, sample_entries
from streamer_plans.batch.policy import Action, Blame, Choice
from streamer_plans.batch.report import picture, write_report
from streamer_plans.batch.samples import Sample
from streamer_plans.batch.why import why
from streamer_plans.scan import ScanOutcome, TomoScan

VERSIONS = {"daemon": "9.9"}
MOVED = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved by 3 px <&>"),), True)
GOOD = Verdict(Decision.ENOUGH, (Reason(ReasonCode.NOTHING_WRONG, "180 of 180"),), True)


@pytest.fixture
def folder(tmp_path):
    """A batch of three samples: one taken twice, one rejected, one not reached."""
    tomogram = tmp_path / "a.tomogram.h5"
    with h5py.File(tomogram, "w") as file:
        volume = np.zeros((5, 40, 40), np.float32)
        volume[2, 10:30, 10:20] = 3.0
        file["entry/data/data"] = volume
    folder = tmp_path / "night <1>"
    journal = Journal(folder, clock=iter(range(1000, 1100)).__next__)
    names = ("kůra <b>", "empty one", "later")
    samples = [sample_entries(Sample(slot, TomoScan(name))) for slot, name in enumerate(names)]
    journal.write("started", samples=samples, versions=VERSIONS)
    retake = Action(Choice.RETAKE, str(MOVED), Blame.SAMPLE, "reason motion", alternatives=("reject: 2 were left",))
    accept = Action(Choice.ACCEPT, str(GOOD), Blame.NOBODY, "decision ENOUGH")
    for number, (verdict, action) in enumerate(((MOVED, retake), (GOOD, accept)), start=1):
        report = Report(
            scan_id=f"a.{number}", sample="a", state=ScanState.COMPLETE, frames=FrameCounts(210, 210), written=210,
            tomogram_file=str(tomogram),
        )  # fmt: skip
        outcome = ScanOutcome(f"a.{number}", f"u{number}", verdict, 20.5, 40, 1e-6, report)
        inputs = {"verdict": verdict.to_dict(), "failure": None, "unlit": 0, "retaken": {}, "realigned": False}
        journal.write("scanning", sample=names[0], number=number, scan_id=f"a.{number}", scan={"projections": 180})
        journal.write(
            "attempt", sample=names[0], number=number, outcome=outcome_entries(outcome), inputs=inputs,
            decision=action_entries(action), versions=VERSIONS,
        )  # fmt: skip
    journal.write("decided", sample=names[0], decision=action_entries(accept))
    journal.write("mounting", sample=names[1], slot=1, early=True)
    fault = action_entries(Action(Choice.REJECT, "slot 1 is empty", Blame.SAMPLE, "robot slot_empty"))
    journal.write("robot", sample=names[1], number=1, decision=fault, versions=VERSIONS)
    journal.write("decided", sample=names[1], decision=fault)
    journal.close()
    return folder


def test_the_page_stands_alone_and_shows_every_sample(folder):
    page = write_report(folder, read_journal(folder)).read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "kůra &lt;b&gt;" in page
    assert "<b>kůra <b>" not in page
    assert "Batch night &lt;1&gt;" in page
    for words in ("accepted, retaken", "rejected", "not decided", "slot 1 is empty", "not ended"):
        assert words in page
    shown = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown[0]))))
    assert len(shown) == 1
    assert image.shape == (40, 40)
    assert (image[20, 15], image[5, 5]) == (255, 0)
    assert page.index("empty one") < page.index("kůra &lt;b&gt;</b>")  # what needs a person comes first


def test_the_table(folder):
    write_report(folder, read_journal(folder))
    with (folder / "samples.csv").open(encoding="utf-8", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert (first["result"], first["scans"], first["retakes"], first["scan_id"]) == ("accept", "2", "1", "a.2")
    assert (first["written"], first["reasons"], first["center_px"]) == ("210", "nothing_wrong", "20.5")
    assert (second["result"], second["robot_faults"], second["scans"]) == ("reject", "1", "0")
    assert (third["result"], third["verdict"]) == ("open", "")


def test_why_tells_every_step_of_a_sample(folder):
    told = "\n".join(why(read_journal(folder), "kůra <b>"))
    for words in (
        "scan 1 began: a.1",
        "motion: it moved by 3 px <&>",
        "decided: retake, by the rule 'reason motion', because of: sample",
        "not: reject: 2 were left",
        "versions: daemon 9.9",
        "end: accept",
    ):
        assert words in told
    assert told.index("retake") < told.index("scan 2 began")
    assert "robot slot_empty" in "\n".join(why(read_journal(folder), "empty one"))


def test_the_command_tells_why_and_names_the_samples(folder, capsys):
    assert main(["why", str(folder), "kůra <b>"]) == 0
    assert "scan 1 was judged" in capsys.readouterr().out
    assert main(["why", str(folder), "nobody"]) == 2
    assert "nobody: is not in this batch; its samples are kůra <b>, empty one, later" in capsys.readouterr().err
    assert main(["report", str(folder)]) == 0
    assert main(["report", str(folder / "none")]) == 2


def test_the_command_checks_a_sheet(tmp_path, capsys):
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("sample,slot\nwood,1\n", encoding="utf-8")
    assert main(["check", str(sheet)]) == 0
    assert "slot   1  wood: 720 projections, fly" in capsys.readouterr().out
    sheet.write_text("sample,slot\nwood,x\nbone,\n", encoding="utf-8")
    assert main(["check", str(sheet)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_tomogram_that_is_gone_is_no_picture(tmp_path):
    assert picture(tmp_path / "none.h5") is None
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    assert picture(tmp_path / "broken.h5") is None


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="name the folder of a batch"):
        read_journal(tmp_path)
