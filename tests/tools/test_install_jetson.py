"""The installer for Jetson boards, before it touches one: what each board is told, what is done."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SCRIPT = REPO / "tools" / "install_jetson.sh"


def dry_run(
    box: Path, release: str | None, model: str = "", *arguments: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """What the script says on a board of this Jetson Linux, by its line in nv_tegra_release."""
    for folder in ("etc", "proc/device-tree"):
        (box / folder).mkdir(parents=True, exist_ok=True)
    if release is not None:
        (box / "etc/nv_tegra_release").write_text(f"# {release}, GCID: 1, BOARD: generic\n")
    if model:
        (box / "proc/device-tree/model").write_text(f"{model}\0")
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={"ROOT": str(box), "PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("release", "model", "said"),
    [
        ("R32 (release), REVISION: 7.4", "NVIDIA Jetson Nano", "Nano and TX2 get no later JetPack"),
        ("R35 (release), REVISION: 4.1", "NVIDIA Jetson Xavier NX", "Xavier gets no later JetPack"),
        ("R35 (release), REVISION: 4.1", "NVIDIA Jetson AGX Orin", "flash JetPack 6.1 or later"),
        ("R36 (release), REVISION: 3.0", "NVIDIA Jetson AGX Orin", "flash JetPack 6.1 or later"),
        (None, "", "pip install '.[pc]'"),
    ],
)
def test_a_board_that_cannot_run_it_is_told_what_it_can_do(
    release: str | None, model: str, said: str, tmp_path: Path
) -> None:
    done = dry_run(tmp_path, release, model)
    assert done.returncode == 3
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("release", "cuda"),
    [
        ("R36 (release), REVISION: 4.0", "12-6"),
        ("R36 (release), REVISION: 5.0", "12-6"),
        ("R38 (release), REVISION: 2.1", "13-0"),
        ("R38 (release), REVISION: 4.0", "13-0"),
        ("R39 (release), REVISION: 2.0", "13-2"),
    ],
)
def test_a_fresh_board_gets_everything_in_order(release: str, cuda: str, tmp_path: Path) -> None:
    done = dry_run(tmp_path, release, "NVIDIA Jetson Orin Nano Developer Kit")
    assert done.returncode == 0, done.stderr
    first, *steps = done.stdout.splitlines()
    assert first.startswith("NVIDIA Jetson Orin Nano Developer Kit, Jetson Linux 3")
    assert all(line.startswith(" would be done  ") for line in steps)
    words = [line.split("  ", 1)[1].split()[0] for line in steps]
    assert words[0] == "packages"
    assert words[-2:] == ["what", "pycuda"]
    packages, compiling = steps[0], steps[-2]
    for package in ("python3-gi", "gir1.2-gst-plugins-base-1.0", "gstreamer1.0-libav"):
        assert package in packages
    for package in ("g++", "python3-dev", f"cuda-nvcc-{cuda}", f"libcurand-dev-{cuda}"):
        assert package in compiling
    assert not list(tmp_path.rglob("bin"))


def test_pycuda_may_be_left_out_and_extras_added(tmp_path: Path) -> None:
    done = dry_run(
        tmp_path, "R36 (release), REVISION: 4.3", "", "--without-pycuda", "--extras", "mqtt,eval"
    )
    assert "pycuda" not in done.stdout
    assert "extras jetson,mqtt,eval" in done.stdout


def test_a_newer_jetson_linux_is_tried_and_said(tmp_path: Path) -> None:
    done = dry_run(tmp_path, "R40 (release), REVISION: 1.0")
    assert done.returncode == 0
    assert "newer than what this script knows" in done.stderr


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    done = dry_run(tmp_path, "R36 (release), REVISION: 4.3", "", "--drop")
    assert done.returncode == 2
    assert "unknown argument --drop" in done.stderr
    done = dry_run(tmp_path, "R36 (release), REVISION: 4.3", "", "--wheel", "/no/such.whl")
    assert done.returncode == 2
    assert "/no/such.whl" in done.stderr


@pytest.mark.parametrize("prefix", ["/usr/local", "/usr/local/cuda/..", "/usr", "/", "program"])
def test_a_folder_that_is_no_environment_is_never_removed(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "usr/local/cuda").mkdir(parents=True)
    done = dry_run(tmp_path, "R36 (release), REVISION: 4.3", PREFIX=prefix)
    assert done.returncode == 2
    assert f"PREFIX {prefix} " in done.stderr
    assert "would be done" not in done.stdout


def test_an_environment_or_an_empty_folder_may_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "opt/empty").mkdir(parents=True)
    (tmp_path / "opt/old").mkdir()
    (tmp_path / "opt/old/pyvenv.cfg").write_text("include-system-site-packages = false\n")
    for name in ("empty", "old", "new"):
        done = dry_run(tmp_path, "R36 (release), REVISION: 4.3", PREFIX=f"/opt/{name}")
        assert done.returncode == 0, done.stderr
        assert f"would be done  environment /opt/{name} " in done.stdout


def test_what_root_installs_can_be_read_by_the_service_user(tmp_path: Path) -> None:
    """Under root's umask 077 the service could not start: nothing else sets the rights."""
    lines = SCRIPT.read_text("utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("umask "))
    acts = ("root=", "apt-get", "mkdir")
    first = next(n for n, line in enumerate(lines) if line.startswith(acts))
    assert at < first
    made = subprocess.run(
        ["bash", "-c", f"umask 077; {lines[at]}\nmkdir a && touch a/b && stat -c %a a a/b"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert made.stdout.split() == ["755", "644"]
