"""The command line: `redone STAGE [--config FILE] [a.b=c ...] [--dry-run]`.

Nothing heavy is imported before a stage runs: `redone --help` answers at once.
"""

import argparse
import contextlib
import logging
import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import megatron_redone.processes.parent  # noqa: F401  # notes who has started this process
from megatron_redone import __version__
from megatron_redone.config.stage_table import STAGES, Stage
from megatron_redone.errors import EXIT_USER_ERROR, UserError, exit_code_of_signal, one_line

_CHANGES_NOTHING = "result unchanged"  # of a key in --help that does not decide what comes out

_EPILOG = """\
redone STAGE --help      every key of the stage, its type, default and meaning
redone STAGE --dry-run   resolve, check and print the configuration, and stop

Completion of stages and keys (needs `pip install argcomplete`):
  bash   eval "$(register-python-argcomplete redone)"
  zsh    autoload -U bashcompinit && bashcompinit && eval "$(register-python-argcomplete redone)"
  fish   register-python-argcomplete --shell fish redone | source"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one stage and returns the exit code: 0, 2 for a user's mistake, 130 for an interrupt."""
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:
        _complete(parser)
    with _reader_may_leave():
        options, rest = parser.parse_known_args(argv)
        if options.stage is None:
            parser.print_help()
            return 0
    # Overrides may stand before, between and after the options.
    overrides = [*options.overrides, *rest]
    return guarded(f"redone {options.stage}", lambda: _run(options, overrides))


def guarded(program: str, body: Callable[[], None]) -> int:
    """Runs a command's body and returns its exit code; what the user must mend is told in one line.

    Args:
        program: The name that the line begins with.
        body: The work.
    """
    _quiet_others()
    try:
        with _reader_may_leave():
            body()
    except UserError as error:
        if _speaks():
            print(f"{program}: {one_line(error)}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return exit_code_of_signal(signal.SIGINT)
    return 0


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Exits with 0 where nobody reads our output any more, as in `redone ... | head`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_left():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def _reader_left() -> bool:
    """Whether nobody reads our output any more, as in `redone ... | head`, and not some other pipe broke."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _quiet_others() -> None:
    """Our own messages as plain lines; of megatron-core and torch, which tell every rank's user much, warnings only."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("megatron_redone").setLevel(logging.INFO)
    # megatron-core 0.19 tells every run that GPTModel will get no new features.
    logging.getLogger("megatron.core.models.gpt.gpt_model").setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=r"(megatron|torch)\.")


def _speaks() -> bool:
    """Whether this process tells an error: the first of a launcher's, or one that has met an error of its own.

    Before the processes have joined, all of them meet the same error.
    """
    distributed = sys.modules.get("torch.distributed")
    joined = distributed is not None and distributed.is_initialized()
    return joined or os.environ.get("RANK", "0") == "0"


def build_parser() -> argparse.ArgumentParser:
    """The parser over all stages; what a stage's keys are is read only when they are asked for."""
    parser = argparse.ArgumentParser(
        prog="redone",
        description="Turns a base language model and a mountain of posts into a domain's own language model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"megatron_redone {__version__}")
    commands = parser.add_subparsers(dest="stage", metavar="STAGE", title="stages")
    for name, stage in STAGES.items():
        _add_stage(commands, name, stage)
    return parser


def _add_stage(commands: Any, name: str, stage: Stage) -> None:
    command = commands.add_parser(
        name, help=stage.summary, description=stage.summary, add_help=False, allow_abbrev=False
    )
    command.add_argument("--config", metavar="FILE", help="a YAML file with the stage's keys")
    dry_run = "tell what would run, and why" if stage.plans else "print the resolved configuration"
    command.add_argument("--dry-run", action="store_true", help=f"{dry_run}, and stop")
    for option, target in stage.options.items():
        command.add_argument(option, dest=f"key:{target}", metavar="VALUE", help=f"the same as {target}=VALUE")
    command.add_argument("-h", "--help", action=_StageHelp, stage=stage)
    overrides = command.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the file's keys")
    overrides.completer = _KeyCompleter(stage)  # type: ignore[attr-defined]


def _run(options: argparse.Namespace, overrides: list[str]) -> None:
    from megatron_redone.config.loader import load_config, to_yaml

    stage = STAGES[options.stage]
    module = f"megatron_redone.stages.{options.stage.replace('-', '_')}"
    flags = [text for text in overrides if text.startswith("-")]
    if flags:
        raise UserError(f"{flags[0]}: unknown option; keys are given as key=value, and listed by --help")
    config = load_config(stage.config_class(), options.config, [*_options(stage, options), *overrides])
    if options.dry_run and stage.plans:
        import_module(module).dry_run(config)
    elif options.dry_run:
        print(to_yaml(config), end="")
    else:
        from megatron_redone.processes.environment import set_environment

        set_environment(config)
        with _clean_end():
            _import(module).run(config)


def _clean_end() -> contextlib.AbstractContextManager[None]:
    """SIGTERM ends a stage with a line; not a rank, which may wait for others where no handler is called."""
    from megatron_redone.processes.termination import clean_end_on_sigterm

    return contextlib.nullcontext() if "RANK" in os.environ else clean_end_on_sigterm()


def _import(module: str) -> Any:
    """A stage's module. megatron-core imports Transformer Engine where it is there, and bears only that it is not."""
    try:
        return import_module(module)
    except (ImportError, OSError) as error:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if not any("/transformer_engine/" in file and "/megatron/" not in file for file in files):
            raise
        reason = " ".join(str(error).split())
        raise UserError(
            f"the transformer_engine package is there, but its import fails ({reason}); install it for this torch and "
            "CUDA, or uninstall it"
        ) from error


def _options(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Overrides that a stage's own options stand for, and that of the folder of its file."""
    values = {target: getattr(options, f"key:{target}") for target in stage.options.values()}
    if stage.folder_key is not None and options.config is not None:
        values[stage.folder_key] = os.path.dirname(options.config) or os.curdir
    return [f"{target}={value}" for target, value in values.items() if value is not None]


class _StageHelp(argparse.Action):
    """Prints a stage's usage and its keys, which are taken from its configuration dataclass."""

    def __init__(self, stage: Stage, **kwargs: Any) -> None:
        super().__init__(nargs=0, default=argparse.SUPPRESS, help="show the stage's keys and exit", **kwargs)
        self.stage = stage

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from megatron_redone.config.schema import describe_keys

        parser.print_help()
        print(f"\nkeys ({_CHANGES_NOTHING}: a finished result stays valid whatever the value is):")
        for row in describe_keys(self.stage.config_class()):
            default = row.default if row.default == "required" else f"default {row.default}" if row.default else ""
            effect = "" if row.decides else _CHANGES_NOTHING
            details = ", ".join(text for text in (row.type, row.range, default, effect) if text)
            print(f"  {row.name}  ({details})\n      {row.help}")
        parser.exit()


class _KeyCompleter:
    """Completes `a.b=` for argcomplete."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def __call__(self, prefix: str, **_: Any) -> list[str]:
        from megatron_redone.config.schema import describe_keys

        names = [row.name for row in describe_keys(self.stage.config_class()) if "[]" not in row.name]
        return [f"{name}=" for name in names if name.startswith(prefix)]


def _complete(parser: argparse.ArgumentParser) -> None:
    try:
        import argcomplete
    except ImportError:
        sys.exit(1)
    argcomplete.autocomplete(parser, always_complete_options=False)
