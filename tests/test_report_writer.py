import os
import stat

import pytest

from orchestrator.report import write


def test_a_report_is_written_with_its_parents(tmp_path):
    place = tmp_path / "a" / "b" / "report.json"
    write("ünï\n", place)
    assert place.read_bytes() == "ünï\n".encode()
    assert [one.name for one in place.parent.iterdir()] == ["report.json"]


def test_an_earlier_report_is_replaced_as_a_whole_and_keeps_its_mode(tmp_path):
    place = tmp_path / "report.txt"
    write("old and longer", place)
    place.chmod(0o640)
    write("new", place)
    assert place.read_text() == "new"
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


def test_a_write_that_fails_leaves_the_earlier_report_and_no_rubbish(tmp_path, monkeypatch):
    place = tmp_path / "report.txt"
    write("old", place)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write("new", place)
    assert place.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["report.txt"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write("new", tmp_path / "link.txt")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_device_is_written_to_and_not_replaced():
    write("gone", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_in_the_place_is_a_clear_error(tmp_path):
    with pytest.raises(IsADirectoryError):
        write("text", tmp_path)
