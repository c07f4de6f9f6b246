"""Work that a GPU repeats without the host, as a CUDA graph.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import warnings
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext

import torch


class Graphs:
    """Graphs of work that is done again and again, by a key of what tells one work from another.

    The work must read and write the same memory every time. It is done plainly where there is no GPU, and where a GPU
    cannot capture it.

    Parameters
    ----------
    device : where the work is done
    """

    def __init__(self, device: torch.device) -> None:
        self.usable = device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if self.usable else None
        self.graphs: dict[Hashable, torch.cuda.CUDAGraph | None] = {}

    def repeat(self, work: Callable[[], None], key: Hashable) -> None:
        """Do the work plainly the first time, capture it the second time, and from then on only replay it."""
        if self.usable and key in self.graphs:
            graph = self.graphs[key] = self.graphs[key] or self._capture(work)
            if graph is not None:
                graph.replay()
                return
        work()
        self.graphs.setdefault(key, None)

    def on_stream(self) -> AbstractContextManager[object]:
        """Keep all work on one stream that is not the default one, which cannot be captured."""
        if self.stream is None:
            return nullcontext()
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))  # for what the work reads to be there
        return torch.cuda.stream(self.stream)

    def _capture(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph | None:
        """Note down what the work does, without doing it; return None, and use no graphs any more, if that fails."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                work()
        except RuntimeError as error:
            self.usable = False
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            warnings.warn(f"training without CUDA graphs, which is slower: {reason}", stacklevel=2)
            return None
        return graph
