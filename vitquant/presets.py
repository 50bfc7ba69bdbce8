"""Budgets that somebody has published, or that follow from what they have, each with its sources."""

from dataclasses import dataclass

from vitquant.budget import Budget
from vitquant.units import MIB


@dataclass(frozen=True)
class Source:
    """A page that a figure comes from."""

    title: str
    url: str


@dataclass(frozen=True)
class Preset:
    """A budget that somebody has published, or that follows from what they have."""

    title: str
    budget: Budget
    says: str  # what the sources say, in our words, and how it is read here
    sources: tuple[Source, ...]


PRESETS = {
    "github-file": Preset(
        "One file on GitHub",
        Budget(disk_bytes=100 * MIB),
        "GitHub refuses files of more than 100 MiB that are not stored with Git LFS.",
        (
            Source(
                "GitHub Docs: About large files on GitHub",
                "https://docs.github.com/en/repositories/working-with-files/managing-large-files/"
                "about-large-files-on-github",
            ),
        ),
    ),
    "pypi-file": Preset(
        "One file on PyPI",
        Budget(disk_bytes=104_857_600),
        "PyPI takes files of up to 100.0 MB unless more was granted; its code has 100 × 1024 × 1024 bytes.",
        (Source("PyPI Docs: Storage Limits", "https://docs.pypi.org/project-management/storage-limits"),),
    ),
    "lambda": Preset(
        "AWS Lambda, zip, smallest memory",
        Budget(disk_bytes=262_144_000, memory_bytes=128_000_000),
        "A function from a zip archive takes up to 250 MB unzipped, its layers included (262,144,000 bytes, "
        "as the command line prints them). It gets 128 MB of memory unless given more, up to 10,240 MB; read "
        "here as 128,000,000 bytes. Code, libraries and model share both.",
        (
            Source(
                "AWS: Configure Lambda function memory",
                "https://docs.aws.amazon.com/lambda/latest/dg/resource-model.html",
            ),
            Source(
                "AWS: Use GetAccountSettings with a CLI",
                "https://docs.aws.amazon.com/lambda/latest/dg/example_lambda_GetAccountSettings_section.html",
            ),
        ),
    ),
    "pi-zero-2w": Preset(
        "Raspberry Pi Zero 2 W",
        Budget(memory_bytes=536_870_912),
        "The board has 512 MB of memory in all (536,870,912 bytes, as the Linux device tree has it), which "
        "the system and everything else that runs there share with the model.",
        (
            Source(
                "Raspberry Pi Documentation: Raspberry Pi hardware",
                "https://www.raspberrypi.com/documentation/computers/raspberry-pi.html",
            ),
        ),
    ),
    "nano-33-ble": Preset(
        "Arduino Nano 33 BLE Sense",
        Budget(disk_bytes=1_000_000, memory_bytes=256_000),
        "Its nRF52840 has 1 MB of flash and 256 KB of SRAM, read here as 1,000,000 and 256,000 bytes; the "
        "program shares both with the model.",
        (Source("Arduino: Nano 33 BLE Sense", "https://docs.arduino.cc/hardware/nano-33-ble-sense"),),
    ),
    "instant": Preset(
        "Feels instantaneous",
        Budget(latency_s=0.1),
        "The draft calls an answer slow that an input has to wait for longer than 100 ms.",
        (Source("W3C Editor's Draft: Event Timing API", "https://w3c.github.io/event-timing"),),
    ),
    "camera-30": Preset(
        "A camera at 30 pictures a second",
        Budget(latency_s=1 / 30),
        "The camera modules film 1080p at 30 pictures a second; 1000 ms / 30 leave 33.3 ms for each (our "
        "arithmetic).",
        (
            Source(
                "Raspberry Pi Documentation: About the Camera Modules",
                "https://www.raspberrypi.com/documentation/accessories/camera.html",
            ),
        ),
    ),
}
"""By the name that an address has for them."""
