from __future__ import annotations

import numpy as np

from streamer.serve.planes import LivePlanes
from tests.gui.stand_in_daemon import StandInDaemon, report_of
from tests.integration.station import eventually


def test_the_newest_picture_of_each_plane_is_kept_for_two_scans() -> None:
    daemon = StandInDaemon()
    planes = LivePlanes(daemon.endpoint)

    def shown(scan_id: str, plane: str, angles: int) -> bool:
        daemon.report = report_of(scan_id)
        daemon.serve()
        daemon.plane(plane, np.full((4, 5), float(angles), np.float32), angles, 90)
        return plane in planes.of(scan_id) and planes.of(scan_id)[plane][0].angles == angles

    try:
        daemon.raw_preview([b"plane", b"nonsense"])
        eventually(lambda: shown("s1", "xy", 3), "a plane of the first scan")
        eventually(lambda: shown("s1", "xz", 3), "another plane")
        eventually(lambda: shown("s1", "xy", 7), "a newer picture")
        assert sorted(planes.of("s1")) == ["xy", "xz"]
        header, payload = planes.of("s1")["xy"]
        np.testing.assert_allclose(header.values(payload), 7.0 / (100 * 6.5e-6), rtol=1e-6)
        eventually(lambda: shown("s2", "xy", 1), "a plane of the second scan")
        assert planes.of("s1")
        eventually(lambda: shown("s3", "xy", 1), "a plane of the third scan")
        assert planes.of("s1") == {}
        assert planes.of("none") == {}
    finally:
        planes.close()
        daemon.close()


def test_a_daemon_that_is_not_there_is_waited_for() -> None:
    planes = LivePlanes("tcp://127.0.0.1:1")
    assert planes.of("s1") == {}
    planes.close()
