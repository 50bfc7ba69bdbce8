"""What this machine is and offers, known without importing torch.

int8 answers and every speed depend on the CPU's instructions and on the engine that torch runs quantized
layers with, so both belong to a result's identity.
"""

import functools
import os
import platform
import subprocess
import sys
from importlib import metadata

import psutil

from vitquant import __version__, settings
from vitquant.errors import InputError

ENGINES = ("x86", "fbgemm", "onednn", "qnnpack")
"""torch.backends.quantized's engines, in the order in which torch prefers them."""

FEATURES_THAT_DECIDE = {
    # /proc/cpuinfo's name -> what people call it
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_tile": "AMX",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
    "asimddp": "NEON dot product",
    "i8mm": "NEON int8 matrix",
    "bf16": "NEON bf16",
    "sve": "SVE",
}


@functools.cache
def _cpuinfo() -> dict[str, str]:
    """The first processor's entry of /proc/cpuinfo (Linux), or what sysctl says of it (macOS), else nothing.

    archspec, the library for this, reports only the microarchitecture level where it does not know the
    processor, and so misses VNNI on the virtual machines this was tried on.
    """
    if sys.platform == "darwin":
        asked = ["machdep.cpu.brand_string", "machdep.cpu.features", "machdep.cpu.leaf7_features"]
        answer = subprocess.run(["sysctl", *asked], capture_output=True, text=True, check=False).stdout
        found = dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
        flags = " ".join(found.get(name, "") for name in asked[1:]).lower()
        return {"model name": found.get(asked[0], ""), "flags": flags}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            entry = file.read().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in entry.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_features() -> tuple[str, ...]:
    """The CPU's instruction sets that decide int8's and bfloat16's speed and answers, as people call them."""
    entry = _cpuinfo()
    flags = set((entry.get("flags") or entry.get("Features") or "").split())
    return tuple(title for flag, title in FEATURES_THAT_DECIDE.items() if flag in flags)


def cpu_name() -> str:
    """The processor's name as it gives it itself, or its architecture where it gives none."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def engine() -> str:
    """The engine torch runs quantized layers with here: the setting, else the one torch would choose.

    torch's own order (aten/src/ATen/Context.cpp): x86 where fbgemm supports the CPU (x86-64 with AVX2),
    else onednn where torch is built with it, else qnnpack. Whether torch really has it is checked when a
    variant is built. Raises InputError for a name that is no engine.
    """
    asked = settings.chosen("engine")
    if asked.value:
        if asked.value not in ENGINES:
            where = asked.setting.variable if asked.origin == "environment" else f"engine in {settings.file()}"
            raise InputError(f"{where} is {asked.value!r}, which is no engine: take {' or '.join(ENGINES)}.")
        return str(asked.value)
    if platform.machine().lower() in ("x86_64", "amd64"):
        # Windows has no /proc/cpuinfo to read; a processor there without AVX2 is over ten years old.
        return "x86" if "AVX2" in cpu_features() or sys.platform == "win32" else "onednn"
    return "qnnpack" if sys.platform == "darwin" else "onednn"


@functools.cache
def version_of(package: str) -> str:
    """An installed package's version, read from its metadata; "" where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def default_threads() -> int:
    """The cores this process may use, at most as many as the settings say: what a measurement takes unless told
    otherwise."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(cores, settings.value("threads") or cores)


def machine_name() -> str:
    """The machine as latency results name it: processor, cores, memory in GiB."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{cpu_name()}, {os.cpu_count()} cores, {memory:.0f} GiB"


def environment() -> dict[str, str | list[str]]:
    """What is recorded with every run: the machine, what its CPU offers, the engine, the versions."""
    return {
        "machine": machine_name(),
        "cpu_features": list(cpu_features()),
        "engine": engine(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version_of(name) for name in ("torch", "torchvision", "timm")},
        "vitquant": __version__,
    }
