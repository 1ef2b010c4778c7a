"""What each verb refuses: exit code 2, one line on stderr that names the thing, nothing on stdout, nothing made."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer.cli import VERBS, main

REFUSED = """
status nonsense ~ ENDPOINT: give an endpoint
status --timeout nan ~ --timeout: give a number above 0
status --key none.key ~ none.key: cannot be read
status --key text.txt ~ text.txt: others may read this secret
status --json none/x.json ~ --json none/x.json: there is no folder
status --watch --json x.json ~ --json: not together with --watch
status tcp://127.0.0.1:1 --timeout 0.1 ~ tcp://127.0.0.1:1 did not answer
abort tcp://127.0.0.1:1 --timeout 0.1 ~ tcp://127.0.0.1:1 did not answer
abort --key folder ~ folder: cannot be read
trigger tcp://127.0.0.1:1 --timeout 0.1 ~ tcp://127.0.0.1:1 did not answer
view nonsense ~ ENDPOINT: give an endpoint
view --snapshot none/x.png ~ --snapshot none/x.png: there is no folder
view --after -1 ~ --after: give a number
serve none ~ none: there is no such folder
serve folder --host 0.0.0.0 ~ --host 0.0.0.0: others could read everything
serve folder --port 70000 ~ --port: give a whole number from 0 to 65535
serve folder --control nonsense ~ --control: give none or an endpoint
web nonsense ~ ENDPOINT: give an endpoint
web --port x ~ --port: give a whole number from 0 to 65535
web --metrics 70000 ~ --metrics: give a whole number from 0 to 65535
web --steer-token none ~ none: no token can be read
web --look-token text.txt ~ text.txt: others may read this token
web --host 0.0.0.0 ~ --host 0.0.0.0: others could look
stitch scan.h5 -o out.nx ~ give two tiles or more
stitch none.h5 scan.h5 -o out.nx ~ none.h5: not a readable HDF5 file (no such file)
stitch scan.h5 scan.h5 -o none/out.nx ~ -o none/out.nx: there is no folder
stitch scan.h5 scan.h5 -o text.txt ~ text.txt exists already
stitch scan.h5 scan.h5 --overview scan.h5 -o out.nx ~ --overview continues one scan, not 2
export none.h5 --to tiff out ~ none.h5: not a readable HDF5 file (no such file or directory)
export folder --to tiff out ~ folder: not a readable HDF5 file (is a directory)
export scan.h5 --to tiff out ~ scan.h5: no tomogram
export scan.h5 --to dxchange none/out.h5 ~ none/out.h5: cannot be made (No such file or directory)
export scan.h5 --to dxchange text.txt ~ text.txt: exists already
export scan.h5 --to dxchange out.h5 --dtype uint16 ~ --dtype uint16 is for TIFF
export scan.h5 --to tiff out --range 0 1 ~ --range is for --dtype uint16
export scan.h5 --to tiff out --dtype uint16 --range 0 nan ~ --range: give a number, not 'nan'
report none.nx ~ none.nx: not a readable HDF5 file (no such file)
report folder ~ folder: not a readable HDF5 file (is a directory)
report scan.h5 ~ scan.h5: neither a raw file nor a tomogram
report scan.h5 --json scan.h5 ~ --json scan.h5: is the file that is read as well
recover none.nx ~ none.nx: neither it nor a segment of it can be read
recover folder ~ folder: neither it nor a segment of it can be read
transfer none folder --queue q ~ none: there is no such folder
transfer folder none --queue q ~ none: there is no such folder
transfer folder folder/. --queue q ~ lies in folder
transfer folder . --queue none/q ~ --queue none/q: not a queue
transfer folder . --queue text.txt --status ~ --queue text.txt: not a queue
transfer folder . --queue none.q --status ~ --queue none.q: not a queue, or not writable (there is no such file)
transfer folder . --queue none.q --sums ~ --queue none.q: not a queue, or not writable (there is no such file)
transfer folder . --queue q --keep-days -1 ~ --keep-days: give a number
transfer folder . --queue q --once --status ~ --status: not allowed with argument --once
keys list ~ keys/daemon.key: there is no key of a daemon
keys --folder folder add x --role fly -o x.key ~ --role: give look, steer or send
keys --folder folder remove x ~ client 'x' is not known
keys --folder text.txt make ~ text.txt: cannot be made
tee tcp://127.0.0.1:1 ~ --to: give a socket for each receiver
tee nonsense --to tcp://127.0.0.1:* ~ SOURCE nonsense: Invalid argument
tee tcp://127.0.0.1:1 --to nonsense ~ give something like tcp://127.0.0.1:5581
tee tcp://127.0.0.1:1 --rows 0:4 --to tcp://127.0.0.1:* ~ --rows: belongs to the --to before it
tee tcp://127.0.0.1:1 --to tcp://127.0.0.1:* --rows 4:0 ~ rows 4:0: give the first row
tee tcp://127.0.0.1:1 --to tcp://127.0.0.1:* --rows x ~ --rows: give the first row
tee tcp://127.0.0.1:1 --to tcp://127.0.0.1:* --high-water-mark 0 ~ --high-water-mark: give a whole number, 1 or more
tee tcp://127.0.0.1:1 --to tcp://127.0.0.1:* --high-water-mark x ~ --high-water-mark: give a whole number, 1 or more
tee tcp://127.0.0.1:1 --to tcp://127.0.0.1:* --metrics 70000 ~ --metrics: give a whole number from 0 to 65535
cluster look c.toml ~ invalid choice: 'look'
cluster check none.toml ~ none.toml: cannot be read
cluster check c.toml --rows 0 ~ --rows: give a whole number from 1
cluster check c.toml --columns x ~ --columns: give a whole number from 2
cluster check c.toml --projections -3 ~ --projections: give a whole number from 1
cluster check c.toml --rate 0 ~ --rate: give a number above 0
cluster check c.toml --rate nan ~ --rate: give a number above 0
sim --size 8 ~ --size: give a whole number from 16 to 4096, not '8'
sim --seed x ~ --seed: give a whole number from 0 to
sim --frames nonsense ~ --frames nonsense: Invalid argument
sim --frames tcp://127.0.0.1:* --control nonsense ~ --control nonsense: Invalid argument
sim --magazine none.json ~ --magazine none.json:
sim --magazine text.txt ~ --magazine text.txt:
sim --frames tcp://127.0.0.1:* --magazine kinds.json ~ 'gold'
sim --rate-limit nan ~ --rate-limit: give a number from 0.001 to 1e+06, not 'nan'
sim --flat-exposure 0 ~ --flat-exposure: give a number from 1e-06 to 1000, not '0'
sim --mount-s x ~ --mount-s: give a number from 0 to 3600, not 'x'
sim --truth-dir text.txt/x ~ text.txt/x: no folder can be made there: not a directory
bench planes --size 5 ~ --size: give a whole number from 16 to 4096
bench planes --backend cupy ~ --backend cupy: backend 'cupy' cannot run
bench other ~ invalid choice: 'other'
demo --size 3 ~ --size: give a whole number from 16 to 4096
demo --rate 0 ~ --rate: give a number above 0
demo --control ca ~ --control: invalid choice: 'ca'
demo --out o --json none/x.json ~ --json none/x.json: there is no folder
check none.toml ~ none.toml: cannot be read
check bad://x ~ give an endpoint
check tcp://127.0.0.1:1 --seconds 0 ~ --seconds: give a number above 0
run folder ~ folder: cannot be read: Is a directory
run text.txt ~ text.txt: not valid TOML
run --ready-file none/x ~ --ready-file none/x: there is no folder
replay none.nx ~ none.nx: not a readable HDF5 file (no such file)
replay folder ~ folder: no file of this folder holds a scan
replay scan.h5 --to nonsense ~ --to: give an endpoint
replay scan.h5 --rate 0 ~ --rate: give a number above 0
replay scan.h5 --rate 5 --as-recorded ~ --as-recorded: not together with --rate
replay scan.h5 --as-recorded --control none ~ scan.h5: does not say when its frames were taken
replay scan.h5 --scan-id ../x --control none ~ scan_id
replay scan.h5 --dialect x ~ --dialect: invalid choice: 'x'
reconstruct folder -o folder ~ folder: holds no scan
reconstruct folder -o text.txt ~ -o text.txt: give a folder
reconstruct scan.h5 ~ -o: say which file the tomogram is to be
reconstruct scan.h5 -o none/o.h5 ~ -o none/o.h5: there is no folder
reconstruct scan.h5 -o scan.h5 ~ scan.h5 exists already
reconstruct scan.h5 -o o.h5 --png o.h5 ~ --png o.h5: is that of -o as well
reconstruct scan.h5 -o o.h5 --rows 3:2 ~ --rows 3:2: the scan has rows 0:4
reconstruct scan.h5 -o o.h5 --bin 3 ~ --bin: give 1, 2, 4 or 8
reconstruct scan.h5 -o o.h5 --center inf ~ --center: give auto or a number
reconstruct scan.h5 -o o.h5 --center 99999 ~ 99999
reconstruct scan.h5 -o o.h5 --threads 0 ~ --threads: give a whole number from 1 to 1024
reconstruct scan.h5 -o o.h5 --backend cupy ~ --backend cupy: backend 'cupy' cannot run
"""
"""A command, and what its complaint says."""

CASES = [tuple(line.split(" ~ ")) for line in REFUSED.strip().splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a scan and with files that are of no use to most verbs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STREAMER_KEY", raising=False)
    monkeypatch.setitem(sys.modules, "cupy", None)  # as on a machine without it
    with h5py.File("scan.h5", "w") as file:
        file["exchange/data"] = np.full((12, 4, 16), 50, "<u2")
        file["exchange/data_white"] = np.full((2, 4, 16), 100, "<u2")
        file["exchange/data_dark"] = np.zeros((2, 4, 16), "<u2")
        file["exchange/theta"] = np.arange(12) * 15.0
    Path("text.txt").write_text("hello\n", encoding="utf-8")
    Path("text.txt").chmod(0o644)
    Path("kinds.json").write_text('["gold"]', encoding="utf-8")
    Path("c.toml").write_text("compute.shards = 2\n", encoding="utf-8")
    Path("folder").mkdir()
    return tmp_path


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "demo" not in path.parts}


@pytest.mark.parametrize(("words", "said"), CASES, ids=[words for words, _ in CASES])
def test_what_cannot_be_done_is_one_line_and_makes_nothing(
    folder: Path, words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    assert main(shlex.split(words, posix=False)) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith(f"streamer {words.split()[0]}: ")
    assert said in line
    assert "virtual beamline has ended" not in told.out
    assert contents(folder) - {"q", "q.lock", "o"} == before


def test_every_verb_is_among_them() -> None:
    assert {words.split()[0] for words, _ in CASES} == set(VERBS)


def test_a_place_that_does_not_exist_is_named_by_the_verbs_that_listen(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILED_SINGLE_USER_API_KEY", "secret")
    for words in (["serve", "folder", "--control", "none"], ["web", "--insecure"]):
        assert main([*words, "--host", "no-such-host.invalid", "--port", "0"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "--host no-such-host.invalid --port 0: " in line
        assert "unknown error" not in line
