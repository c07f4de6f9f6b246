"""A command that trains a GPT, from start to results: its loop, its checkpoints, what people see of it."""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tqdm import tqdm

from manual_backprop.arrays import Array
from manual_backprop.data.texts.characters import Text, Tokens, all_windows, load_text, shuffled_windows
from manual_backprop.history import DivergenceError
from manual_backprop.networks import GPT
from manual_backprop.optimizers.schedule import warm_up_and_cosine
from manual_backprop.runs.command import CHECKPOINT_SECONDS
from manual_backprop.runs.folder import State
from manual_backprop.runs.gpt.folder import GPTFolder, StepCheckpoint
from manual_backprop.runs.gpt.history import StepHistory
from manual_backprop.runs.gpt.options import configure, needed_bytes, shape_of
from manual_backprop.runs.gpt.sampling import sample
from manual_backprop.runs.interruption import Interruption
from manual_backprop.runs.process import as_process, check_memory, versions
from manual_backprop.runs.progress import say
from manual_backprop.storage.files import replacing

STEPS_TOGETHER = 10
"""Steps between two looks at the clock, the checkpoint and an interruption."""

VALIDATIONS = 5
"""How often a run validates, the last step included."""

Windows = tuple[Tokens, Tokens]


class Trainer(Protocol):
    """One of the two sides, holding a network and its optimizer."""

    def train(self, batches: Sequence[Windows], learning_rates: Sequence[float]) -> Sequence[float]:
        """Make a step for each batch; return the losses before them."""

    def loss(self, windows: Windows) -> float:
        """Return the mean loss of many windows."""

    def logits(self, tokens: Tokens) -> Array:
        """Return the logits (N, T, V) of tokens (N, T)."""

    def network(self) -> GPT:
        """Return the network as it is now, hand-derived."""

    def state(self) -> State:
        """Return all arrays that training depends on."""

    def load(self, state: State, steps: int) -> None:
        """Go on from what `state` returned after so many steps."""


MakeTrainer = Callable[[argparse.Namespace, GPT], Trainer]
"""Makes a trainer of the options and the initial network, or raises ValueError if the machine is not up to it."""


def main(parser: argparse.ArgumentParser, make_trainer: MakeTrainer, arguments: list[str] | None = None) -> int:
    """Run the command, as the whole of its process, and return its exit status, as `as_process` has them."""
    return as_process(lambda: _run(parser.parse_args(arguments), make_trainer))


def _run(options: argparse.Namespace, make_trainer: MakeTrainer) -> int:
    text = load_text(options.text, options.context)
    configuration = configure(options, text)
    shape = shape_of(options, text)
    check_memory(needed_bytes(options, shape), "--layers, --width, --context, --batch-size")
    trainer = make_trainer(options, GPT.initial(shape, options.seed, options.dtype))
    folder = GPTFolder(options.out)
    history = StepHistory()
    if options.resume:
        checkpoint = folder.load_steps(configuration, trainer.state())
        history = checkpoint.history
        trainer.load(checkpoint.state, len(history))
    if not options.quiet:
        characters = f"{len(text.characters)} different characters"
        say(f"{text.source}: {len(text.train)} to train on, {len(text.valid)} to validate, {characters}")

    def save_checkpoint() -> None:
        folder.save_steps(StepCheckpoint(trainer.state(), history, configuration))

    with folder.opened(), Interruption(options.quiet) as interruption:
        save_checkpoint()
        if len(history) == 0:
            folder.remove_results()
        try:
            _train(trainer, text, history, options, interruption, save_checkpoint)
            save_checkpoint()
        finally:
            history.write_csv(options.out / "history.csv")
        _write_results(trainer, text, history, options, folder, configuration)
    if not options.quiet:
        reached = f"{'interrupted after ' if interruption.status else ''}{len(history)} steps"
        say(f"{reached}; the results are in {options.out}")
    return interruption.status


def _train(
    trainer: Trainer,
    text: Text,
    history: StepHistory,
    options: argparse.Namespace,
    interruption: Interruption,
    save_checkpoint: Callable[[], None],
) -> None:
    """Train to the last step or to the end of those in which an interruption came."""
    steps, context, size = options.steps, options.context, options.batch_size
    until_validation = math.ceil(steps / VALIDATIONS)
    valid = all_windows(text.valid, context)
    before = history.seconds[-1] if len(history) else 0.0
    saved = time.perf_counter()
    start = saved - before
    with tqdm(total=steps, initial=len(history), unit="step", disable=None if not options.quiet else True) as bar:
        while len(history) < steps:
            done = len(history)
            count = min(STEPS_TOGETHER, steps - done, until_validation - done % until_validation)
            numbers = range(done, done + count)
            batches = [
                shuffled_windows(text.train, context, range(number * size, (number + 1) * size), options.seed)
                for number in numbers
            ]
            rates = [warm_up_and_cosine(number, steps, options.learning_rate) for number in numbers]
            losses = trainer.train(batches, rates)
            done += count
            validates = done % until_validation == 0 or done == steps
            valid_loss = trainer.loss(valid) if validates else math.nan
            now = time.perf_counter() - start
            for number, loss in enumerate(losses, start=1):  # each took its share of the time
                seconds = before + (now - before) * number / count
                history.append(loss, valid_loss if number == count else math.nan, seconds)
            speed = count * size * context / (now - before)
            bar.set_postfix_str(f"loss {losses[-1]:.4f}, {speed:,.0f} tokens/s", refresh=False)
            bar.update(count)
            if validates and not options.quiet and bar.disable:
                say(
                    f"step {done}/{steps}: loss {losses[-1]:.4f}, validation loss {valid_loss:.4f}, "
                    f"{len(history) * size * context / now:,.0f} tokens/s"
                )
            before = now
            if interruption.status:
                break
            if time.perf_counter() - saved > CHECKPOINT_SECONDS:
                save_checkpoint()
                saved = time.perf_counter()


def _write_results(
    trainer: Trainer,
    text: Text,
    history: StepHistory,
    options: argparse.Namespace,
    folder: GPTFolder,
    configuration: dict[str, Any],
) -> None:
    valid_loss = trainer.loss(all_windows(text.valid, options.context))
    if not math.isfinite(valid_loss):
        raise DivergenceError(
            f"the validation loss is {valid_loss} after step {len(history)}: the learning rate is likely too high"
        )
    trainer.network().save(folder.weights_path)
    history.draw(folder.path / "curves.png")
    sampled = sample(trainer.logits, text, options.context, options.seed)
    with replacing(folder.path / "sample.txt") as temporary:
        temporary.write_text(sampled, encoding="utf-8")
    steps_per_second = len(history) / history.seconds[-1]
    folder.write_summary(
        {
            "configuration": configuration | {"steps_made": len(history)},
            "versions": versions(),
            "metrics": {"train_loss": history.train_loss[-1], "valid_loss": valid_loss},
            "throughput": {
                "steps_per_second": steps_per_second,
                "tokens_per_second": steps_per_second * options.batch_size * options.context,
            },
        }
    )
    if not options.quiet:
        say(f"validation loss {valid_loss:.4f}")
