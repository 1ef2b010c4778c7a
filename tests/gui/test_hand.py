"""What mouse and keys mean: planes and centre as the daemon is told them, on real sockets and without a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from streamer.flow.scan import ScanState
from streamer.flow.wire.daemon import PlaneSpec, PreviewHeader
from streamer.flow.wire.events import StateEvent
from streamer.gui.client import ViewerClient
from streamer.gui.hand import TURN_DEG, SteeringHand
from streamer.gui.state.model import ViewModel
from streamer.gui.state.steering import FreePlane, orthogonal
from tests.gui.stand_in_daemon import StandInDaemon

Spin = Callable[..., None]
VOLUME = (48, 64, 64)
MIDDLE = (32.0, 32.0, 24.0)


class Viewer:
    """A hand on a model that shows three planes, in half of the detail, and what a window would be told."""

    def __init__(self, server: StandInDaemon) -> None:
        self.model = ViewModel(server.endpoint)
        self.client: ViewerClient | None = ViewerClient(server.endpoint, self.model)
        self.changes = 0
        self.measured: list[str] = []
        self.hand = SteeringHand(self.model, lambda: self.client, self.change, self.measured.append)
        for name in ("xy", "xz", "yz"):
            place = orthogonal(name, VOLUME, MIDDLE)
            rows, columns = (side // 2 for side in place.shape)
            header = PreviewHeader(
                scan_id="s1", sample="foam", plane=name, angles=30, of=90, shape=(rows, columns), lo=0.0, hi=1.0,
                unit="1/cm", pixel_size_m=1e-5, bin=2, center_px=31.5, place=place, volume=VOLUME,
            )  # fmt: skip
            self.model.preview(header, np.zeros((rows, columns), "<u2").tobytes(), 0.0)

    def change(self) -> None:
        self.changes += 1

    def put(self, name: str, row: float, column: float) -> None:
        """The mouse at a pixel of the plane in full detail."""
        self.hand.put(name, *self.model.shown_planes[name].on_axes(row, column))


@pytest.fixture
def viewer(server: StandInDaemon, spin: Spin) -> Iterator[Viewer]:
    made = Viewer(server)
    client = made.client
    assert client is not None
    spin(lambda: made.model.version and not client.eager, server.serve, client.poll)  # what a viewer asks at first
    yield made
    client.close()


@pytest.fixture
def told(server: StandInDaemon, viewer: Viewer, spin: Spin) -> Callable[[], dict[str, PlaneSpec]]:
    """What the daemon was told last, once it has been told everything."""
    client = viewer.client
    assert client is not None

    def planes() -> dict[str, PlaneSpec]:
        spin(lambda: not client.eager, server.serve, client.poll)
        return {plane.name: plane for plane in server.watched[-1]} if server.watched else {}

    return planes


Told = Callable[[], dict[str, PlaneSpec]]


@pytest.mark.parametrize(
    ("name", "row", "column", "point"),
    [
        ("xy", 10, 50, (50.0, 10.0, 24.0)),
        ("xz", 10, 50, (50.0, 32.0, 10.0)),
        ("yz", 10, 50, (32.0, 50.0, 10.0)),
        ("xy", 10.4, 49.6, (50.0, 10.0, 24.0)),
        ("xz", -500, 900, (63.0, 32.0, 0.0)),
        ("yz", 900, -500, (32.0, 0.0, 47.0)),
    ],
)
def test_the_cross_hair_goes_where_the_mouse_is_and_stays_in_its_plane(
    viewer: Viewer, told: Told, name: str, row: float, column: float, point: tuple[float, float, float]
) -> None:
    viewer.put(name, row, column)
    assert viewer.model.steering.point == point
    assert told() == {each: orthogonal(each, VOLUME, point) for each in ("xy", "xz", "yz")}
    assert viewer.changes == 1


def test_a_plane_whose_picture_is_still_to_come_is_not_drawn_back_by_the_mouse(viewer: Viewer, told: Told) -> None:
    viewer.hand.scroll("xy", 5)
    viewer.put("xy", 10, 50)  # in the picture of where it was before
    assert viewer.model.steering.point == (50.0, 10.0, 29.0)
    assert told()["xy"].origin == (0.0, 0.0, 29.0)


def test_pulling_slowly_moves_by_whole_voxels_and_loses_nothing(viewer: Viewer, told: Told) -> None:
    for _ in range(10):
        viewer.hand.pull("xz", across=5.0, down=0.4)
    assert told()["xz"].origin == (0.0, 36.0, 0.0)
    for _ in range(10):
        viewer.hand.pull("xz", across=0.0, down=-0.75)
    assert told()["xz"].origin[1] in (28.0, 29.0), "7.5 voxels back"
    assert viewer.model.steering.point is not None
    assert viewer.model.steering.point[0::2] == (32.0, 24.0)


def test_scrolling_ends_at_the_end_of_the_tomogram(viewer: Viewer, told: Told) -> None:
    viewer.hand.scroll("xy", 3)
    assert told()["xy"].origin == (0.0, 0.0, 27.0)
    viewer.hand.scroll("xy", 1000)
    assert told()["xy"].origin == (0.0, 0.0, 47.0)
    viewer.hand.scroll("xy", -1000)
    assert told()["xy"].origin == (0.0, 0.0, 0.0)
    before = viewer.changes
    viewer.hand.scroll("xy", 0)
    viewer.hand.scroll("sinogram", 1)
    viewer.hand.scroll("free", 1)
    viewer.hand.to_middle()
    assert told()["xy"].origin == (0.0, 0.0, 24.0)
    assert viewer.changes - before == 2, "a free plane that is not there is only drawn again"


def test_a_free_plane_follows_the_hand(viewer: Viewer, told: Told) -> None:
    viewer.hand.turn(5.0, 5.0)
    assert viewer.changes == 0, "there is none yet"
    viewer.hand.toggle_free()
    assert told()["free"] == FreePlane().spec(VOLUME)
    viewer.hand.pull("free", across=8.0, down=-6.0)
    assert viewer.model.steering.free == FreePlane(30.0 + 8 * TURN_DEG, 60.0 - 6 * TURN_DEG)
    viewer.hand.turn(-44.0, 50.0)
    viewer.hand.scroll("free", -4)
    assert told()["free"] == FreePlane(-10.0, 90.0, -4.0).spec(VOLUME)
    viewer.hand.to_middle()
    assert told()["free"] == FreePlane(-10.0, 90.0).spec(VOLUME)
    viewer.hand.toggle_free()
    assert set(told()) == {"xy", "xz", "yz"}


def test_the_centre_is_held_beside_where_it_is(viewer: Viewer, server: StandInDaemon, told: Told) -> None:
    for pixels in (0.1, 0.1, 0.1, -0.5):
        viewer.hand.nudge(pixels)
    held = viewer.model.center_fixed
    assert (viewer.model.scan.center_px, held) == (31.3, True), "and not 31.299999999999997"
    told()
    assert server.centers[-1] == 31.3
    viewer.hand.fix_center(None)
    told()
    assert server.centers[-1:] == [None]
    assert not viewer.model.center_fixed


def test_a_centre_that_is_not_known_cannot_be_nudged(viewer: Viewer, server: StandInDaemon, told: Told) -> None:
    viewer.model.event(StateEvent(scan_id="s2", state=ScanState.ACQUIRING), 1.0)
    viewer.hand.nudge(0.5)
    told()
    assert server.centers == []
    assert not viewer.model.center_fixed


def test_pictures_of_a_past_scan_cannot_be_moved(viewer: Viewer, server: StandInDaemon, told: Told) -> None:
    viewer.model.event(StateEvent(scan_id="s1", state=ScanState.COMPLETE), 1.0)
    viewer.model.event(StateEvent(scan_id="s2", state=ScanState.ACQUIRING), 2.0)
    assert viewer.model.shows_past
    viewer.put("xy", 10, 50)
    viewer.hand.pull("xz", 0.0, 9.0)
    viewer.hand.scroll("yz", 5)
    viewer.hand.toggle_free()
    told()
    assert server.watched == []
    assert (viewer.model.steering.point, viewer.model.steering.free) == (MIDDLE, None)


def test_the_free_plane_stays_while_a_past_scan_is_shown(viewer: Viewer, server: StandInDaemon, told: Told) -> None:
    viewer.hand.toggle_free()
    viewer.hand.scroll("xy", 3)
    told()
    before = len(server.watched)
    viewer.model.event(StateEvent(scan_id="s1", state=ScanState.COMPLETE), 1.0)
    viewer.model.event(StateEvent(scan_id="s2", state=ScanState.ACQUIRING), 2.0)
    assert viewer.model.shows_past
    viewer.hand.pull("free", across=8.0, down=-6.0)
    viewer.hand.turn(5.0, 5.0)
    viewer.hand.to_middle()
    viewer.hand.toggle_free()
    told()
    assert len(server.watched) == before
    assert viewer.model.steering.free == FreePlane(), "what is watched and what is shown as watched are one"
    assert viewer.model.steering.point == (32.0, 32.0, 27.0)


def test_a_picture_that_is_not_there_is_not_touched(viewer: Viewer, told: Told) -> None:
    viewer.hand.put("row-9", 0.0, 0.0)
    viewer.hand.put("raw", 0.0, 0.0)
    assert told() == {}
    assert viewer.changes == 0


def test_without_a_daemon_the_cross_hair_still_moves(viewer: Viewer) -> None:
    client, viewer.client = viewer.client, None
    viewer.put("xy", 10, 50)
    viewer.hand.fix_center(3.0)
    assert viewer.model.steering.point == (50.0, 10.0, 24.0)
    assert viewer.model.scan.center_px == 31.5, "no daemon has been asked to hold another"
    assert viewer.changes == 2
    viewer.client = client


def test_contrast_and_line_belong_to_the_tile_that_the_mouse_is_in(viewer: Viewer) -> None:
    viewer.hand.levels("xz", 0.25, 0.5)
    levels = viewer.model.contrast.levels("xz")
    assert (levels.low, levels.high, levels.auto) == (0.25, 0.5, False)
    assert viewer.model.contrast.levels("xy").auto
    viewer.hand.measure("yz")
    assert viewer.measured == ["yz"]
