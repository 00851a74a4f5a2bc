"""What the unit lets through on boards of different kinds, by the names their drivers have."""

from __future__ import annotations

import os
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from jetson_face.service import devices as subject
from jetson_face.service.devices import Hardware, Node, adapt, gpu_nodes, look_at, parse_drivers
from jetson_face.service.install import UNITS, Box, find_hardware, unit_text

ORIN = """Character devices:
  1 mem
 10 misc
 81 video4linux
226 drm
234 capture-isp-channel
235 capture-vi-channel
500 host1x-fence
505 17000000.gpu
507 nvhost-ctrl-nvdla0
511 nvsciipc

Block devices:
259 blkext
"""
ORIN_NODES = [
    ("/dev/null", 1),
    ("/dev/nvmap", 10),
    ("/dev/fuse", 10),
    ("/dev/video0", 81),
    ("/dev/dri/renderD128", 226),
    ("/dev/dri/card0", 226),
    ("/dev/host1x-fence", 500),
    ("/dev/nvgpu/igpu0/ctrl", 505),
    ("/dev/nvgpu/igpu0/as", 505),
    ("/dev/nvhost-ctrl-nvdla0", 507),
    ("/dev/nvsciipc", 511),
    ("/dev/v4l2-nvdec", 10),
]
THOR = "Character devices:\n195 nvidia\n226 drm\n508 nvidia-uvm\n509 nvidia-caps\n"
THOR_NODES = [("/dev/nvidia0", 195), ("/dev/nvidiactl", 195), ("/dev/nvidia-uvm", 508)]
PROGRAM = Path("/opt/jetson-face/bin/jetson-face")


def hardware(
    listed: str, nodes: list[tuple[str, int]], *, jetson: bool = True, network: bool = False
) -> Hardware:
    return Hardware(jetson, tuple(gpu_nodes(nodes, parse_drivers(listed))), network)


def allows(unit: str, path: str, driver: str) -> bool:
    """As systemd reads DeviceAllow=: a path, or char- and a pattern of the driver's name."""
    lines = [line for line in unit.splitlines() if line.startswith("DeviceAllow=")]
    words = [line.removeprefix("DeviceAllow=").split()[0] for line in lines]
    return any(
        word == path or (word.startswith("char-") and fnmatch(f"char-{driver}", word))
        for word in words
    )


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize(("listed", "nodes"), [(ORIN, ORIN_NODES), (THOR, THOR_NODES)])
def test_every_gpu_node_of_the_board_may_be_opened_and_no_other(
    name: str, listed: str, nodes: list[tuple[str, int]]
) -> None:
    unit = unit_text(name, PROGRAM, hardware(listed, nodes))
    drivers = parse_drivers(listed)
    for path, major in nodes:
        wanted = path not in ("/dev/null", "/dev/fuse")
        assert allows(unit, path, drivers[major]) == wanted, path
    assert not allows(unit, "/dev/sda", "sd")
    assert "DeviceAllow=char-misc" not in unit


@pytest.mark.parametrize(
    ("path", "driver"),
    [
        ("/dev/nvgpu/igpu0/ctrl", "17000000.gpu"),
        ("/dev/host1x-fence", "host1x-fence"),
        ("/dev/nvmap", "misc"),
        ("/dev/nvhost-vic", "nvhost-vic"),
        ("/dev/nvidia0", "nvidia"),
        ("/dev/nvidia-uvm", "nvidia-uvm"),
    ],
)
def test_the_shipped_units_know_orins_and_thors_nodes_without_a_look(
    path: str, driver: str
) -> None:
    for name in UNITS:
        shipped = (Path(__file__).parents[2] / "systemd" / name).read_text()
        assert allows(shipped, path, driver)
        said = {line for line in shipped.splitlines() if line.startswith("DeviceAllow=")}
        assert said == {f"DeviceAllow={known} rw" for known in subject.KNOWN}


def test_a_driver_of_another_name_is_found_by_its_node() -> None:
    found = hardware("Character devices:\n240 tegra-gpu2\n", [("/dev/nvgpu/igpu1/ctrl", 240)])
    assert found.allowed == ("char-tegra-gpu2",)
    unknown = Hardware(True, (Node("/dev/nvhost-x", ""), Node("/dev/nvhost-y", "a b")), False)
    assert unknown.allowed == ("/dev/nvhost-x", "/dev/nvhost-y")


def test_only_a_jetson_shares_tmp_and_only_a_network_camera_waits_for_the_network() -> None:
    pc = unit_text(UNITS[0], PROGRAM, Hardware(False, (), False))
    assert "PrivateTmp=yes\n" in pc
    assert "network-online" not in pc
    assert "After=network.target nvargus-daemon.service\n" in pc
    board = unit_text(UNITS[0], PROGRAM, Hardware(True, (), True))
    assert "PrivateTmp=no\nReadWritePaths=/tmp\n" in board
    assert "argus_socket" not in board
    assert "Wants=network-online.target\n" in board
    assert "After=network-online.target nvargus-daemon.service\n" in board
    assert "LimitCORE=0\n" in board
    assert "LimitCORE=0\n" in pc


def test_what_was_found_is_said() -> None:
    lines = hardware(ORIN, ORIN_NODES, network=True).lines()
    assert lines[0].startswith("GPU nodes /dev/dri/renderD128 and 7 more, of 17000000.gpu, ")
    assert "/tmp is shared" in lines[1]
    assert "when the network is up" in lines[2]
    assert hardware("", [], jetson=False).lines() == [
        "no GPU nodes in /dev: the service runs its networks on the CPU"
    ]


def test_the_configured_camera_says_whether_the_network_is_needed(tmp_path: Path) -> None:
    box = Box(tmp_path)
    config = tmp_path / "site.yaml"
    for uri, network in (("rtsp://10.0.0.1/x", True), ("csi://0", False)):
        config.write_text(f"sources: [{{uri: '{uri}', name: door}}]\n")
        assert find_hardware(box, config, None).network is network
    (tmp_path / "etc/jetson-face").mkdir(parents=True)
    (tmp_path / "etc/jetson-face/config.yaml").write_text("sources: [{uri: 'rtsp://10.0.0.1/x'}]\n")
    assert find_hardware(box, config, None).network  # what is there stays, and counts
    assert not find_hardware(box, tmp_path / "none.yaml", "door").network


def test_an_image_goes_by_known_names_and_this_machine_by_its_own(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36\n")
    image = look_at(tmp_path, network=False)
    assert (image.jetson, image.nodes, image.looked) == (True, (), False)
    assert "image" in image.lines()[0]
    here = look_at(Path("/"), network=False)
    assert here.looked
    assert here.jetson == Path("/etc/nv_tegra_release").exists()


def test_nodes_are_found_in_folders_and_not_through_links(tmp_path: Path) -> None:
    node = tmp_path / "nvgpu" / "igpu0" / "ctrl"
    node.parent.mkdir(parents=True)
    made = subprocess.run(["mknod", str(node), "c", "240", "7"], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("making device nodes needs root")
    (tmp_path / "v4l2-nvdec").symlink_to("/dev/null")
    (tmp_path / "file").write_text("")
    assert subject._character_devices(tmp_path) == [(str(node), 240)]
    assert os.major(node.stat().st_rdev) == 240


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit_of_a_board_and_finds_it_as_tight(name: str, tmp_path: Path) -> None:
    import shutil

    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    unit = tmp_path / name.replace("@", "@x")
    unit.write_text(
        adapt(
            (Path(__file__).parents[2] / "systemd" / name).read_text(),
            hardware(ORIN, ORIN_NODES, network=True),
        )
    )
    done = subprocess.run(
        [program, "security", "--offline=true", "--threshold=27", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert "Unknown" not in done.stderr
