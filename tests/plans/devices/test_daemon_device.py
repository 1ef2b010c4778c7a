"""The daemon as an ophyd device: which verdict it shows, and that waiting for one always ends."""

import threading
import time

import pytest
from msgspec import structs

from streamer.client import LinkError
from streamer.flow.scan import ScanState
from streamer.flow.wire.events import StateEvent
from streamer.frames import Decision, Quality, Reason, ReasonCode, ScanSpec, Verdict
from streamer_plans.devices.daemon import StreamerDaemon
from tests.gui.stand_in_daemon import fields_of, report_of
from tests.plans.stand_in import StandIn

SPEC = ScanSpec("s1", "wood", 8, 16, 10)
MOVED = Verdict(Decision.RETAKE, (Reason(ReasonCode.MOTION, "it moved"),))
CUT = Verdict(Decision.RETAKE, (*MOVED.reasons, Reason(ReasonCode.TRUNCATED, "it is cut")))
GOOD = Verdict(Decision.ENOUGH, (Reason(ReasonCode.NOTHING_WRONG, "all came"),), final=True)
PATIENCE_S = 60.0


@pytest.fixture
def server():
    stand_in = StandIn()
    yield stand_in
    stand_in.close()


@pytest.fixture
def device(server):
    """Armed, and listening to the events."""
    device = StreamerDaemon(server.endpoint, busy_timeout_s=PATIENCE_S)
    device.arm(SPEC)
    until(lambda: server.tell(state=ScanState.ARMED, written=1) or device.written("s1") == 1)
    yield device
    device.close()


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def shown(device):
    """The verdict in the signals, as a plan reads them."""
    reading = {key.removeprefix("streamer_"): entry["value"] for key, entry in device.read().items()}
    pairs = zip(reading["reason_codes"], reading["reason_texts"], strict=True)
    reasons = tuple(Reason(ReasonCode(code), text) for code, text in pairs)
    return Verdict(Decision(reading["decision"]), reasons, bool(reading["final"]))


def wait(device, timeout_s):
    device.verdict_timeout.put(timeout_s)
    began = time.monotonic()
    device.trigger().wait(PATIENCE_S)
    return time.monotonic() - began


def test_before_anything_is_measured_the_reason_says_so(device):
    assert shown(device).codes == (ReasonCode.NOT_JUDGED,)
    assert device.center_px.get() is None


def test_while_the_scan_runs_the_signals_follow_the_daemon(device, server):
    server.tell(MOVED, quality=Quality(snr=7.5, motion_px=3.0))
    until(lambda: shown(device) == MOVED)
    assert (device.snr.get(), device.motion_px.get()) == (7.5, 3.0)
    assert device.center_px.get() is None
    server.event("verdict", scan_id="s1", **CUT.to_dict(), quality={})
    until(lambda: shown(device) == CUT)


def test_a_final_verdict_is_waited_for(device, server):
    later = threading.Timer(0.3, lambda: server.tell(GOOD, state=ScanState.COMPLETE))
    later.start()
    assert wait(device, PATIENCE_S) < PATIENCE_S / 2
    later.join()
    assert shown(device) == GOOD


def test_without_a_verdict_in_time_it_is_unknown_and_says_what_was_known(device, server):
    server.tell(MOVED)
    assert wait(device, 0.5) < 20
    verdict = shown(device)
    assert verdict.decision is Decision.UNKNOWN
    assert verdict.codes == (ReasonCode.NO_VERDICT, ReasonCode.MOTION)
    assert verdict.reasons[0].text == "no final verdict within 0.5 s"


def test_a_scan_that_ended_without_a_verdict_is_not_waited_for(device, server):
    server.tell(state=ScanState.FAILED, error="disk full")
    assert wait(device, PATIENCE_S) < PATIENCE_S / 2
    verdict = shown(device)
    assert verdict.codes[0] is ReasonCode.NO_VERDICT
    assert verdict.reasons[0].text == "the scan ended as failed"


def test_a_restarted_daemon_knows_no_scan_and_the_waiting_ends(server):
    device = StreamerDaemon(server.endpoint)
    device.arm(SPEC)
    server.report = None
    assert wait(device, 1.0) < 20
    assert "no final verdict within 1 s: " in shown(device).reasons[0].text
    assert "is not known to this daemon" in shown(device).reasons[0].text
    device.close()


def test_whoever_waits_for_a_device_that_is_closed_waits_no_more(device):
    device.verdict_timeout.put(PATIENCE_S)
    began = time.monotonic()
    waiting = device.trigger()
    device.close()
    waiting.wait(PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S / 2
    assert shown(device).codes[0] is ReasonCode.NO_VERDICT
    assert "after the link to it was closed" in shown(device).reasons[0].text


def test_an_answer_that_is_no_verdict_ends_the_waiting_in_time(device, server):
    server.report = structs.replace(server.report, reasons=("it moved",))
    assert wait(device, 0.5) < 20
    assert shown(device).codes[0] is ReasonCode.NO_VERDICT


def test_a_final_verdict_is_not_replaced_by_an_older_one(device, server):
    server.tell(GOOD, state=ScanState.FINALISING)
    until(lambda: shown(device) == GOOD)
    server.event("verdict", scan_id="s1", **MOVED.to_dict())
    server.tell(MOVED, written=9)
    until(lambda: device.written("s1") == 9)
    assert shown(device) == GOOD


def test_another_scan_says_nothing_of_this_one(device, server):
    server.event("verdict", scan_id="s0", **GOOD.to_dict())
    other = report_of("s0", state=ScanState.COMPLETE, written=99, **fields_of(GOOD))
    server.events.event(StateEvent(scan_id="s0", state=other.state, report=other))
    server.tell(MOVED, written=2)
    until(lambda: device.written("s1") == 2)
    assert shown(device) == MOVED


def test_an_event_that_cannot_be_read_is_skipped(device, server, caplog):
    caplog.set_level("CRITICAL", "streamer")
    caplog.set_level("CRITICAL", "streamer_plans")
    for wrong in ({"verdict": 7}, {"verdict": "ENOUGH", "reasons": "all"}, {"verdict": "ENOUGH", "reasons": [1]}):
        server.event("verdict", scan_id="s1", final=True, **wrong)
    server.tell(MOVED)
    until(lambda: shown(device) == MOVED)


def test_what_a_newer_daemon_says_reads_as_unknown_and_other(device, server):
    server.tell(verdict="DEFROST", reasons=({"code": "ice", "text": "it is cold"},))
    until(lambda: ReasonCode.OTHER in shown(device).codes)
    assert shown(device).decision is Decision.UNKNOWN
    assert [reason.text for reason in shown(device).reasons][1:] == ["it is cold"]


def test_written_never_goes_back(device, server):
    server.tell(written=30)
    until(lambda: device.written("s1") == 30)
    server.tell(written=20)
    server.tell(written=31)
    until(lambda: device.written("s1") >= 31)
    assert device.written("other") == 0


def test_codes_and_texts_that_are_read_belong_to_one_verdict(device):
    """Nothing is read while a verdict is being put into the signals, one after the other."""
    device.close()  # no event comes in between
    seen = []
    reader = threading.Thread(target=lambda: seen.append(shown(device)))
    with device._lock:
        device._set_verdict(MOVED)
        reader.start()
        reader.join(0.2)
        assert seen == []
        device._set_verdict(CUT)
    reader.join(PATIENCE_S)
    assert seen == [CUT]


def test_the_readings_are_what_is_described(device):
    described, read = device.describe(), device.read()
    assert set(described) == set(read)
    assert described["streamer_reason_codes"]["dtype"] == "array"
    assert described["streamer_reason_codes"]["shape"] == [1]


def test_arming_waits_for_a_busy_daemon(server):
    server.busy = 2
    device = StreamerDaemon(server.endpoint, busy_timeout_s=PATIENCE_S)
    assert device.arm(SPEC) == "/data/s1.nx"
    assert server.verbs == ["arm"] * 3
    device.close()


def test_arming_gives_up_when_the_daemon_stays_busy(server):
    server.busy = 10**9
    device = StreamerDaemon(server.endpoint, busy_timeout_s=0.3)
    with pytest.raises(LinkError, match="another scan is running"):
        device.arm(SPEC)
    device.close()


def test_an_aborted_scan_is_known_to_be_over(device, server):
    device.abort("s1", "tea")
    assert device.poll("s1").error == "tea"
    assert device.poll("s2") is None
    assert wait(device, PATIENCE_S) < PATIENCE_S / 2
