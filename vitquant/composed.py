"""Models put together from the layers of two, sharing their weights; layers that take one picture at a time, or
are watched; and running them on all cores. What a diagnosis is made of."""

import copy
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import nn

from vitquant import machine

Model = TypeVar("Model", bound=nn.Module)
Found = TypeVar("Found")

CHUNK_TOKENS = 2400
"""So many tokens at once a core, or one picture's: ViT-B's widest activations of them take 30 MB."""


class Picturewise(nn.Module):
    """A layer that is given the pictures of a batch one after the other: (N, ...) in and out.

    Dynamic int8 takes one scale for a whole batch. With this around every layer each picture gets the answer
    that it gets by itself, while everything between the layers runs on the batch.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.layer(batch[i : i + 1]) for i in range(len(batch))])


class Watched(nn.Module):
    """A layer that shows what comes in to somebody before it computes."""

    def __init__(self, layer: nn.Module, see: Callable[[torch.Tensor], None]) -> None:
        super().__init__()
        self.layer = layer
        self._see = see

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self._see(batch)
        return cast(torch.Tensor, self.layer(batch))


def with_layers(model: Model, layers: Mapping[str, nn.Module]) -> Model:
    """A model of the same structure with these modules in the place of those of that name. It shares all other
    modules and every parameter with the model, which stays as it is."""
    around = {""} | {name.rpartition(".")[0] for name in layers}
    around |= {outer.rsplit(".", depth)[0] for outer in around for depth in range(1, outer.count(".") + 1)}
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    kept = {id(module): module for name, module in model.named_modules() if name not in around}
    put_in = {id(model.get_submodule(name)): layer for name, layer in layers.items()}
    return copy.deepcopy(model, {**shared, **kept, **put_in})  # what it finds there is not copied


@dataclass(frozen=True)
class Cores:
    """Every core with its own few pictures on one thread: none waits for the others, which something else may
    keep busy. (On two cores that others used, torch's own threads took 2 to 12 times as long.)"""

    pool: ThreadPoolExecutor
    count: int

    def map(
        self,
        function: Callable[[slice], Found],
        pictures: int,
        at_once: int,
        tell: Callable[[float], None] = lambda share: None,
    ) -> list[Found]:
        """The function's results on at most at_once pictures each, in order. tell: called after each with the
        share of the pictures that are done; what it raises ends the work."""

        def on_one_thread(part: slice) -> Found:
            torch.set_num_threads(1)  # holds for this thread
            with torch.inference_mode():
                return function(part)

        at_once = min(at_once, -(-pictures // self.count))  # no core is to be idle
        parts = [slice(start, min(start + at_once, pictures)) for start in range(0, pictures, at_once)]
        futures = [self.pool.submit(on_one_thread, part) for part in parts]
        found = []
        try:
            for part, future in zip(parts, futures, strict=True):
                found.append(future.result())
                tell(part.stop / pictures)
        finally:
            for future in futures:
                future.cancel()
        return found


@contextmanager
def cores() -> Iterator[Cores]:
    """All cores this process may use, as long as this holds."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    count = machine.default_threads()
    pool = ThreadPoolExecutor(count)
    try:
        yield Cores(pool, count)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads_before)


def at_once(tokens: int, versions: int = 1) -> int:
    """How many pictures of so many tokens one core takes at a time, where each is run in so many versions."""
    return max(1, CHUNK_TOKENS // (tokens * versions))
