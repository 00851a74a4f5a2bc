"""Which names of TensorRT's Python API the program uses, and whether a real package has them.

What is used is read from the program's own source: every attribute of a variable that holds a
TensorRT object, and with how many arguments it is called. A package says of each of its functions
how it is called in the first lines of its docstring, as pybind11 writes it.

python -m tests.inference.trt_api FOLDER MODULE   (prints JSON: version, how many uses, problems)
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jetson_face

PRODUCT = Path(jetson_face.__file__).parent / "inference" / "tensorrt"
KINDS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "tensor": "ITensor",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "_runtime": "Runtime",
    "_engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "severity": "ILogger.Severity",
}
"""What a variable or attribute of that name holds, in the files below."""
FILES = ("bindings.py", "builder.py", "runtime.py")
ONLY_RTX = {"num_compute_capabilities", "set_compute_capability", "ComputeCapability"}
"""Building for another GPU than the one here, which `_capability` refuses with `tensorrt`."""
OVERRIDDEN = {
    "ILogger": ("log",),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
}
"""What the program's own classes override."""


@dataclass(frozen=True)
class Use:
    """One name that the program takes. arguments, keywords: None, () where it is not called."""

    owner: str
    name: str
    arguments: int | None
    keywords: tuple[str, ...]
    where: str


def uses() -> Iterator[Use]:
    """All of them, from the source."""
    for file in FILES:
        tree = ast.parse((PRODUCT / file).read_text("utf-8"))
        called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            owner = _owner(node.value)
            if owner is None:
                continue
            call = called.get(id(node))
            where = f"{file}:{node.lineno}"
            if call is None:
                yield Use(owner, node.attr, None, (), where)
            else:
                keywords = tuple(k.arg for k in call.keywords if k.arg)
                yield Use(owner, node.attr, len(call.args), keywords, where)
    for owner, names in OVERRIDDEN.items():
        for name in names:
            yield Use(owner, name, None, (), "overridden")


def _owner(node: ast.expr) -> str | None:
    """The TensorRT class that an expression is of, "" for the module itself."""
    text = ast.unparse(node)
    if text in ("module", "trt.module", "self._trt.module"):
        return ""
    found = re.fullmatch(r"(?:trt\.|self\._trt\.)?module\.([A-Za-z.]+)", text)
    if found is not None:
        return found[1]
    return KINDS.get(text.removeprefix("self."))


def problems(module: Any) -> list[str]:
    """What the package lacks, or takes in another way."""
    found = []
    for use in uses():
        if use.name in ONLY_RTX and module.__name__ != "tensorrt_rtx":
            continue
        holder: Any = module
        for part in filter(None, use.owner.split(".")):
            holder = getattr(holder, part, None)
        full = ".".join(filter(None, (use.owner, use.name)))
        if holder is None or not hasattr(holder, use.name):
            found.append(f"{use.where}: there is no {full}")
        elif use.arguments is not None and not _takes(getattr(holder, use.name), use):
            text = (getattr(holder, use.name).__doc__ or "").strip().splitlines()[:1]
            found.append(
                f"{use.where}: {full} is called with {use.arguments} arguments and "
                f"{list(use.keywords)}, but is {text}"
            )
    return found


def _takes(function: Any, use: Use) -> bool:
    """Whether one of the function's signatures fits the call."""
    if isinstance(function, type):  # a class: the call is of its constructor
        function = vars(function).get("__init__", function)
    text = function.__doc__ or ""
    signatures = re.findall(r"^\s*(?:\d+\. )?\w+\((.*)\) -> ", text, re.M)
    if not signatures:  # written in Python
        return True
    return any(_fits(signature, use) for signature in signatures)


def _fits(signature: str, use: Use) -> bool:
    parameters = [part for part in _split(signature) if part]
    if parameters and parameters[0].startswith("self:"):
        parameters = parameters[1:]
    names = [part.partition(":")[0].strip() for part in parameters]
    required = [n for n, part in zip(names, parameters, strict=True) if "=" not in part]
    assert use.arguments is not None
    if any(name.startswith("*") for name in names):
        return True
    given = {*names[: use.arguments], *use.keywords}
    return (
        use.arguments <= len(names) and set(use.keywords) <= set(names) and set(required) <= given
    )


def _split(text: str) -> list[str]:
    """At commas that are in no bracket."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "([{<") - (sign in ")]}>")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def check(module: Any) -> dict[str, Any]:
    """What the package is, and what is wrong with it for this program."""
    import numpy as np

    from jetson_face.inference.tensorrt.bindings import adopt
    from jetson_face.inference.tensorrt.builder import _make_monitor, _network_flags

    found = problems(module)
    adopted = adopt(module, "tensorrt_rtx" if module.__name__ == "tensorrt_rtx" else "tensorrt")
    adopted.logger.log(module.ILogger.Severity.ERROR, "heard")  # its base is the package's
    with adopted.journal.watch() as errors:
        adopted.logger.log(module.ILogger.Severity.ERROR, "heard")
        if errors() != "heard":
            found.append("the logger does not pass errors on")
    cast("Any", _make_monitor)(module, None)
    if _network_flags(module) == 0:
        found.append("there is no flag for strongly typed networks")
    if module.__name__ != "tensorrt_rtx":
        found += _null_pointers(adopted)
    kinds = {"FLOAT": np.float32, "HALF": np.float16, "UINT8": np.uint8, "INT64": np.int64}
    for name, kind in kinds.items():
        if np.dtype(module.nptype(getattr(module.DataType, name))) != kind:
            found.append(f"nptype of {name} is not {kind}")
    return {"version": adopted.version, "uses": len({(u.owner, u.name) for u in uses()}),
            "problems": found}  # fmt: skip


def _null_pointers(adopted: Any) -> list[str]:
    """What the program makes of a library that gives nothing, as the stand-in below it does."""
    from jetson_face.core.errors import EngineError
    from jetson_face.inference.tensorrt.builder import _make_builder
    from jetson_face.inference.tensorrt.runtime import TensorRTBackend

    backend = TensorRTBackend.__new__(TensorRTBackend)
    backend._trt, backend._what, backend._errors = adopted, "net", lambda: ""
    calls: dict[str, Callable[[], object]] = {
        "Builder": lambda: _make_builder(adopted, "net", lambda: ""),
        "Runtime": lambda: backend._open_plan(b""),
    }
    found = []
    for name, call in calls.items():
        try:
            call()
        except EngineError:
            continue
        except Exception as error:
            found.append(f"{name} of a null pointer is {type(error).__name__}: {error}")
            continue
        found.append(f"{name} of a null pointer is none that the program notices")
    return found


def main() -> int:
    """Import the package from a folder, look, and print."""
    folder, name = sys.argv[1:3]
    sys.path.insert(0, folder)
    # The libraries below the package may be empty: functions are looked up when they are called.
    sys.setdlopenflags(os.RTLD_LAZY)
    sys.stdout.write(json.dumps(check(importlib.import_module(name))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
