"""The documents about one scan's frames."""

import pytest
from event_model import DocumentNames, schema_validators

from streamer.frames import ScanSpec
from streamer_plans.devices.documents import ScanDocuments

SPEC = ScanSpec("s1", "wood", 8, 16, 10, dtype="<f4")


@pytest.fixture
def documents():
    return ScanDocuments("cam", SPEC, "/data/beam time #3/s1 50%.nx")


def of(documents, stop):
    made = list(documents.assets(stop))
    for name, document in made:
        schema_validators[DocumentNames[name]].validate(document)
    return made


def test_the_data_keys_describe_images_and_what_comes_with_them(documents):
    keys = documents.keys()
    assert set(keys) == {"cam", "cam_image_key", "cam_rotation_angle"}
    assert (keys["cam"]["shape"], keys["cam"]["dtype_numpy"]) == ([8, 16], "<f4")
    assert keys["cam_rotation_angle"]["units"] == "deg"
    assert {key["external"] for key in keys.values()} == {"STREAM:"}


def test_resources_come_once_and_point_at_the_file(documents):
    first = of(documents, 3)
    resources = [document for name, document in first if name == "stream_resource"]
    assert {document["data_key"] for document in resources} == set(documents.keys())
    assert {document["uri"] for document in resources} == {"file://localhost/data/beam%20time%20%233/s1%2050%25.nx"}
    assert [name for name, _ in of(documents, 5)] == ["stream_datum"] * 3


def test_every_frame_is_announced_once(documents):
    announced = {}
    for stop in (2, 2, 5, 4, 9):
        for name, document in of(documents, stop):
            if name == "stream_datum":
                announced.setdefault(document["stream_resource"], []).append(document["indices"])
    assert len(announced) == 3
    for ranges in announced.values():
        assert ranges == [{"start": 0, "stop": 2}, {"start": 2, "stop": 5}, {"start": 5, "stop": 9}]


def test_without_a_frame_there_is_no_document(documents):
    assert of(documents, 0) == []
