"""The command that comes with the package: `manual-backprop train ...`, `manual-backprop check ...`.

Each package registers its subcommands as entry points (pyproject.toml), so that neither has to import the other.
"""

import sys
from importlib.metadata import entry_points

GROUP = "manual_backprop.commands"

NEEDS = {"torch": "PyTorch: pip install 'manual-backprop[torch]'"}
"""The modules that a subcommand may miss, and how to get them."""


def main() -> int:
    """Run the subcommand that the first argument names and return its exit status."""
    commands = {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}
    rest = sys.argv[1:]
    if not rest or rest[0] in {"-h", "--help"}:
        names = ",".join(commands)
        print(f"usage: manual-backprop {{{names}}} ...\n\n'manual-backprop NAME --help' says what each one takes.")
        return 0 if rest else 2
    name, *arguments = rest
    if name not in commands:
        print(f"error: {name!r}: expected one of {', '.join(commands)}", file=sys.stderr)
        return 2
    try:
        command = commands[name].load()
    except ModuleNotFoundError as error:
        if error.name not in NEEDS:
            raise
        print(f"error: {name} needs {NEEDS[error.name]}", file=sys.stderr)
        return 2
    sys.argv = [f"manual-backprop {name}", *arguments]
    return int(command())


if __name__ == "__main__":
    sys.exit(main())
