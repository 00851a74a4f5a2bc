"""Change the program in one place after another, and see whether a test notices.

    python tools/mutate.py recognition events/outbox      # folders or files of jetson_face
    python tools/mutate.py --sample 40 --seed 11 events   # at most 40 mutants a file
    python tools/mutate.py --report                       # the table, and what nobody explained
    python tools/mutate.py --survivors --budget-s 60      # run those again, with more tests

mutmut makes the mutants; here they are run: all tests of a folder are collected once, and each
mutant gets a fork of that process, in which the tests that come by its function run, those first
that killed a neighbour, then those named after its file, then the quick ones. What was killed is
not run again until its code changes. Not run: mutants of texts that people read (inside `raise`
and calls of `logger`), and words in other letters. What became of each is kept in
mutants/results.jsonl. docs/mutation_explained.csv says of survivors why nothing that matters
changes; the report counts the others as open. docs/mutation.md sums up.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import csv
import functools
import hashlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "mutants"
EXPLAINED = ROOT / "docs" / "mutation_explained.csv"
"""file, function, change, kind and, where the kind does not say it, why."""
KEYS = [f"tests/config/test_keys_{name}.py" for name in ("recognition", "detectors", "networks")]
KEYS += [f"tests/config/test_keys_{name}.py" for name in ("gallery", "plugins", "run", "drift")]
TESTS = {
    "recognition": ["tests/recognition", *KEYS, "tests/detection/test_detector_contract.py"],
    "factory": [
        "tests/factory",
        *KEYS,
        "tests/config/test_keys_fleet.py",
        "tests/config/test_keys_source.py",
        "tests/api",
        "tests/calibration/test_calibration.py",
        "tests/calibration/test_site_centre.py",
        "tests/cli/test_calibrate_command.py",
        "tests/cli/test_canary_run.py",
        "tests/cli/test_gallery_hygiene.py",
        "tests/cli/test_models_command.py",
        "tests/detection/test_detector_contract.py",
        "tests/detection/test_mtcnn.py",
        "tests/embedding/test_opencv_net.py",
        "tests/embedding/test_recognisable.py",
        "tests/gallery/test_classifiers.py",
        "tests/gallery/test_negatives.py",
        "tests/inference/test_engines_command.py",
        "tests/inference/test_engines_bundle.py",
        "tests/models/test_golden.py",
        "tests/recognition",
    ],
    "events": [
        "tests/events",
        "tests/cli/test_events_command.py",
        "tests/cli/test_events_history.py",
        "tests/config/test_keys_drift.py",
        "tests/config/test_keys_home_assistant.py",
        "tests/config/test_keys_service.py",
        "tests/fleet/test_nats.py",
        "tests/fleet/test_nats_link.py",
        "tests/fleet/test_rights.py",
        "tests/live/test_live_pipeline.py",
        "tests/output/test_sinks.py",
        "tests/service/test_erasure.py",
        "tests/service/test_event_writer.py",
        "tests/service/test_history_pages.py",
        "tests/service/test_late_sinks.py",
        "tests/service/test_review_writer.py",
        "tests/service/test_service_canary.py",
        "tests/service/test_service_events.py",
    ],
}
"""Tests that reach a folder's code inside their own process."""
PYTEST = ("-p", "no:cacheprovider", "--rootdir=.", "--tb=no", "--timeout=180", "--no-header")
HANGS_S = 200.0
"""A mutant whose tests take this much longer than five times the unchanged ones has timed out. So
much, because a machine with other work may stop for seconds what needs a tenth of one."""
COLUMNS = ("mutants", "run", "killed", "timeout", "explained", "open")
Key: TypeAlias = tuple[str, str, str]
CLEAN = "clean.jsonl"
LATE = "Timeout"
"""How the message of pytest-timeout begins: such a test has not failed."""


@dataclass(frozen=True)
class Mutant:
    """One changed function. function: as mutmut records calls of it. digest: of the change."""

    name: str
    file: str
    function: str
    digest: str
    change: str


# --- which mutants -------------------------------------------------------------------------------


def make_mutants() -> None:
    """Write the copy of the working tree in which every function has its mutants beside it."""
    from mutmut.__main__ import create_mutants
    from mutmut.mutation.trampoline import set_mutant_under_test
    from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir

    set_mutant_under_test("mutant_generation")
    COPY.mkdir(exist_ok=True)
    for folder in ("tests", "tools", "docs", "configs", "systemd"):
        shutil.rmtree(COPY / folder, ignore_errors=True)
    log, out = (COPY / "mutmut.log").open("w"), sys.stdout
    sys.stdout = log
    try:
        copy_src_dir()
        copy_also_copy_files()
        made = create_mutants(1)
    finally:
        sys.stdout = out
        log.close()
    if made.mutated:  # tests may come by other functions now
        (COPY / CLEAN).unlink(missing_ok=True)
    print(f"files with new mutants: {made.mutated}, as before: {made.unmodified}")


def mutants_of(file: str) -> Iterator[Mutant]:
    """All mutants of a file (folder/name, without .py) that are worth a run."""
    source = (COPY / "jetson_face" / f"{file}.py").read_text("utf-8")
    found: dict[str, dict[str, ast.AST]] = defaultdict(dict)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "__mutmut_" in node.name:
            function, _, number = node.name.rpartition("__mutmut_")
            node.name = function
            node.decorator_list = []
            found[function][number] = node
    module = f"jetson_face.{file.replace('/', '.')}"
    for function, versions in found.items():
        whole = ast.dump(versions["orig"])
        for number, node in versions.items():
            change = None if number == "orig" else _change(versions["orig"], node)
            if change is not None:
                digest = hashlib.sha256(f"{whole}\n{ast.dump(node)}".encode()).hexdigest()[:16]
                name = f"{module}.{function}__mutmut_{number}"
                yield Mutant(name, file, f"{module}.{function}", digest, change)


def _change(one: ast.AST, other: ast.AST) -> str | None:
    """Both sides of what differs; None for a text or for a word in other letters."""
    before, after = _differing(one, other)
    texts = [" ".join(ast.unparse(node).split()) for node in (before, after)]
    if isinstance(before, ast.Raise) or texts[0].startswith("logger."):
        return None
    same = ast.dump(_small(before)) == ast.dump(_small(after))
    return None if same else " → ".join(texts)


def _small(node: ast.AST) -> ast.AST:
    """A copy with every string in small letters."""
    node = copy.deepcopy(node)
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            part.value = part.value.lower()
    return node


def _differing(one: ast.AST, other: ast.AST) -> tuple[ast.AST, ast.AST]:
    """The smallest statements that hold the whole difference."""
    pairs = list(zip(_statements(one), _statements(other), strict=False))
    unlike = [(a, b) for a, b in pairs if ast.dump(a) != ast.dump(b)]
    if len(unlike) != 1:
        return one, other
    heads = [_head(node) for node in (one, other)]
    return _differing(*unlike[0]) if heads[0] == heads[1] else (one, other)


def _statements(node: ast.AST) -> list[ast.AST]:
    return [x for x in ast.iter_child_nodes(node) if isinstance(x, ast.stmt | ast.ExceptHandler)]


def _head(node: ast.AST) -> list[str]:
    inner = {id(x) for x in _statements(node)}
    return [ast.dump(x) for x in ast.iter_child_nodes(node) if id(x) not in inner]


def chosen(files: Iterable[str], count: int | None, seed: int) -> list[Mutant]:
    """The mutants of these files; of each file at most `count`, drawn by the seed."""
    found: list[Mutant] = []
    for file in files:
        every = sorted(mutants_of(file), key=lambda mutant: mutant.name)
        random.Random(f"{seed}:{file}").shuffle(every)
        found += every[:count]
    return found


# --- running them --------------------------------------------------------------------------------


class Run:
    """A pytest plug-in: in place of the tests once, the right tests for each mutant."""

    def __init__(
        self, mutants: list[Mutant], results: Results, budget_s: float, hangs_s: float, tmp: Path
    ) -> None:
        self._tmp, self._hangs_s = tmp, hangs_s
        self._mutants, self._results, self._budget_s = mutants, results, budget_s
        self._say = os.fdopen(os.dup(2), "w", buffering=1)
        self._failed = ""
        self._killers: dict[str, list[str]] = defaultdict(list)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            late = call.excinfo is not None and str(call.excinfo.value).startswith(LATE)
            self._failed = f"{LATE} {item.nodeid}" if late else item.nodeid
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        import jetson_face

        assert Path(jetson_face.__file__).is_relative_to(COPY), "the mutants are not what is tested"
        items = {item.nodeid: item for item in session.items}
        began = time.monotonic()
        kept = Clean()
        new = [item for item in items.values() if not kept.of(item)]
        if new:
            self._child(lambda _: self._clean(new, kept), 3600)
        kept.load()
        by: dict[str, list[str]] = defaultdict(list)
        seconds = {}
        for item in items.values():
            row = kept.of(item) or {"failed": True}
            if row["failed"]:
                self._say.write(f"fails unchanged, left out: {item.nodeid}\n")
                continue
            seconds[item.nodeid] = row["seconds"]
            for function in row["functions"]:
                by[function].append(item.nodeid)
        self._say.write(f"{len(items)} tests, {time.monotonic() - began:.0f} s unchanged\n")
        for index, mutant in enumerate(self._mutants):
            tests = sorted(by[mutant.function], key=seconds.__getitem__)
            verdict = self._judge(mutant, [items[test] for test in tests], seconds)
            self._results.add(mutant, *verdict)
            self._say.write(f"{index + 1}/{len(self._mutants)} {mutant.name} {verdict[0]}\n")
        return True

    def _clean(self, items: list[pytest.Item], kept: Clean) -> int:
        """What each test takes and which functions it comes by."""
        from mutmut.mutation.trampoline import set_mutant_under_test
        from mutmut.state import state

        set_mutant_under_test("stats")
        for item, following in zip(items, [*items[1:], None], strict=True):
            state()._stats.clear()
            self._failed, began = "", unhindered_s()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            kept.add(item, unhindered_s() - began, bool(self._failed), state()._stats)
        return 0

    def _judge(
        self, mutant: Mutant, items: list[pytest.Item], seconds: dict[str, float]
    ) -> tuple[str, str]:
        """What became of a mutant, and the test that killed it."""
        first = [x for name in (mutant.function, mutant.file) for x in self._killers[name]]
        order = {test: place for place, test in reversed(list(enumerate(first)))}
        subject = Path(mutant.file).name

        def rank(item: pytest.Item) -> tuple[int, bool]:
            return order.get(item.nodeid, len(order)), subject not in item.path.stem

        items.sort(key=rank)
        spent = 0.0
        few: list[pytest.Item] = []
        for item in items:
            spent += seconds[item.nodeid]
            if few and spent > self._budget_s:
                break
            few.append(item)
        if not few:
            return "no test", ""
        limit = self._hangs_s + 5 * sum(seconds[item.nodeid] for item in few)
        status, test = self._child(lambda write: self._changed(mutant, few, write), limit)
        verdict = verdict_of(status, test)
        if verdict == "survived" and len(few) < len(items):
            verdict = "survived the quick tests"
        if verdict == "killed" and test:
            for name in (mutant.function, mutant.file):
                self._killers[name] = [test, *(x for x in self._killers[name] if x != test)][:8]
        return verdict, test.removeprefix(f"{LATE} ")

    def _changed(self, mutant: Mutant, items: list[pytest.Item], write: Any) -> int:
        from mutmut.mutation.trampoline import set_mutant_under_test

        set_mutant_under_test(mutant.name)
        for item, following in zip(items, [*items[1:], None], strict=True):
            self._failed = ""
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed:
                write(self._failed)
                return 1
        return 0

    def _child(self, work: Any, limit_s: float) -> tuple[int, str]:
        """Run `work(write)` in a fork that is its own session: exit status, what it wrote."""
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.close(read_end)
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s), int(limit_s) + 5))
            status = 3
            try:
                status = work(lambda text: os.write(write_end, text.encode()))
            finally:
                os._exit(status)
        os.close(write_end)
        ended = False
        try:
            text, ended = _read(read_end, limit_s)
        finally:
            if not ended:
                os.killpg(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what a test has started and not ended
        shutil.rmtree(self._tmp, ignore_errors=True)
        return status, text


def verdict_of(status: int, said: str) -> str:
    """What became of a mutant. status: of its process; said: the test that ended it."""
    if said.startswith(LATE) or status in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timeout"
    return "killed" if status else "survived"


def unhindered_s() -> float:
    """Monotonic seconds without those that this thread waited for a core: a busy machine does not
    make a test look slow."""
    waited = 0
    with contextlib.suppress(OSError, IndexError):
        waited = int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1])
    return time.monotonic() - waited / 1e9


def _read(end: int, limit_s: float) -> tuple[str, bool]:
    """What a child wrote, and whether it ended in this time."""
    parts, until = [], time.monotonic() + limit_s
    part = b"more"
    while part and select.select([end], [], [], max(until - time.monotonic(), 0))[0]:
        part = os.read(end, 65536)
        parts.append(part)
    os.close(end)
    return b"".join(parts).decode(), not part


class Clean:
    """What is known of each unchanged test, until its file or a file with mutants changes; kept
    beside the mutants."""

    def __init__(self) -> None:
        self._path = COPY / CLEAN
        self.load()

    def load(self) -> None:
        """Read it again: a fork wrote it."""
        lines = self._path.read_text("utf-8").splitlines() if self._path.exists() else []
        self._rows = {row["test"] + row["file"]: row for row in map(json.loads, lines)}

    def of(self, item: pytest.Item) -> dict[str, Any] | None:
        """seconds, failed, functions of a test."""
        return self._rows.get(item.nodeid + _digest(item.path))

    def add(self, item: pytest.Item, spent: float, failed: bool, functions: set[str]) -> None:
        """Keep what a run of it showed."""
        row = {"test": item.nodeid, "file": _digest(item.path), "seconds": round(spent, 3)}
        row |= {"failed": failed, "functions": sorted(functions)}
        with self._path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


class Results:
    """What became of each mutant, by the digest of its change; kept beside the mutants."""

    def __init__(self) -> None:
        self._path = COPY / "results.jsonl"
        self.by_digest: dict[str, dict[str, str]] = {}
        if self._path.exists():
            for line in self._path.read_text("utf-8").splitlines():
                row = json.loads(line)
                self.by_digest[row["file"] + row["digest"]] = row

    def of(self, mutant: Mutant) -> dict[str, str]:
        """Its row; an empty one where it never ran."""
        return self.by_digest.get(mutant.file + mutant.digest, {})

    def add(self, mutant: Mutant, verdict: str, test: str) -> None:
        """Keep what became of a mutant, on the disk at once."""
        row = {**vars(mutant), "verdict": verdict, "test": test}
        self.by_digest[mutant.file + mutant.digest] = row
        with self._path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def run_folder(folder: str, mutants: list[Mutant], budget_s: float, hangs_s: float) -> int:
    """Run the mutants of one folder in a process of their own."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.chdir(COPY)
    os.environ.setdefault("JETSON_FACE_DATA", str(ROOT.parent / "shared" / "data"))
    os.environ["PYTHONPATH"] = f"{COPY}:{COPY / 'tools'}"
    sys.path[:0] = [str(COPY), str(COPY / "tools")]
    tmp = COPY / f"tmp-{folder}"
    plugin = Run(mutants, Results(), budget_s, hangs_s, tmp)
    log = os.open(COPY / f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # That a test fails when its key is ignored says nothing of a changed program.
    options = [*PYTEST, f"--basetemp={tmp}", "-k", "not ignored"]
    os._exit(int(pytest.main([*options, *TESTS[folder]], plugins=[plugin])))


# --- what came out -------------------------------------------------------------------------------


def report(files: Iterable[str], results: Results, explained: Collection[Key]) -> None:
    """A line a file, then every mutant that nobody killed and nobody explained."""
    left: list[dict[str, str]] = []
    total: Counter[str] = Counter()
    print(f"| file | {' | '.join(COLUMNS)} |")
    print(f"| --- |{' --- |' * len(COLUMNS)}")
    for file in files:
        every = list(mutants_of(file))
        rows = [row for row in map(results.of, every) if row]
        survivors = [row for row in rows if row["verdict"] not in ("killed", "timeout")]
        unexplained = [row for row in survivors if key_of(row) not in explained]
        counts = Counter(row["verdict"] for row in rows)
        counts["mutants"], counts["run"] = len(every), len(rows)
        counts["open"] = len(unexplained)
        counts["explained"] = len(survivors) - len(unexplained)
        left += unexplained
        if rows:
            total += counts
            _line(file, counts)
    _line("all", total)
    for row in left:
        print(f"{row['name']}: {row['verdict']}\n    {row['change']}")


def _line(name: str, counts: Counter[str]) -> None:
    print(f"| {name} | {' | '.join(str(counts[key]) for key in COLUMNS)} |")


def key_of(row: Mapping[str, str]) -> Key:
    """File, function (`Class.method`) and change of a mutant: what an explanation is kept by."""
    module = f"jetson_face.{row['file'].replace('/', '.')}."
    function = row["function"].removeprefix(module)
    owner, mark, method = function.removeprefix("xǁ").partition("ǁ")
    return row["file"], f"{owner}.{method}" if mark else function.removeprefix("x_"), row["change"]


def explanations() -> dict[Key, str]:
    """The kind of each explained survivor."""
    if not EXPLAINED.exists():
        return {}
    with EXPLAINED.open(encoding="utf-8", newline="") as file:
        return {(r["file"], r["function"], r["change"]): r["kind"] for r in csv.DictReader(file)}


def files_of(patterns: list[str]) -> list[str]:
    """folder/name of each file that a folder or a file names. Raises SystemExit for none."""
    found = []
    for folder in TESTS:
        for path in sorted((ROOT / "jetson_face" / folder).glob("*.py")):
            name = f"{folder}/{path.stem}"
            if not patterns or name in patterns or folder in patterns:
                found.append(name)
    if not found:
        raise SystemExit(f"no file of {', '.join(TESTS)} is called {' or '.join(patterns)}")
    return [name for name in found if not name.endswith("__init__")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("patterns", nargs="*", help="folders, or folder/file without .py")
    parser.add_argument("--sample", type=int, help="at most so many mutants a file, by chance")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--budget-s", type=float, default=3.0, help="of tests for one mutant")
    parser.add_argument(
        "--hangs-s", type=float, default=HANGS_S, help="beyond the tests: 20 on a quiet machine"
    )
    parser.add_argument("--survivors", action="store_true", help="only those that survived")
    parser.add_argument("--report", action="store_true", help="run nothing, show what is known")
    parser.add_argument("--as-is", action="store_true", help="do not look for changed files")
    args = parser.parse_args()
    files = files_of(args.patterns)
    if args.report:
        report(files, Results(), explanations())
        return 0
    if not args.as_is:
        make_mutants()
    results, known = Results(), explanations()
    todo = []
    for mutant in chosen(files, args.sample, args.seed):
        verdict = results.of(mutant).get("verdict", "")
        settled = verdict in ("killed", "timeout") or (verdict and key_of(vars(mutant)) in known)
        if not settled and (verdict or not args.survivors):
            todo.append(mutant)
    for folder in TESTS:
        mutants = [mutant for mutant in todo if mutant.file.startswith(f"{folder}/")]
        if mutants and run_folder(folder, mutants, args.budget_s, args.hangs_s):
            return 1
    report(files, Results(), known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
