"""The command line. Nothing heavy is imported before a command needs it: ``overtone --help`` never imports torch."""

from __future__ import annotations

import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.markup import escape
from rich.status import Status

from overtone.errors import InputError, nearest
from overtone.shell import DONE, SOME_FAILED, alone, console, errors, import_torch, one_message, quiet
from overtone.streams import INTERRUPTED, end_on_interrupt, leave, make_printable

if TYPE_CHECKING:
    from overtone.data import Windows
    from overtone.formats.clock import TimeUnit
    from overtone.new_data import Columns
    from overtone.recipe import Recipe
    from overtone.study import Plan

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Multi-modal, multi-teacher knowledge distillation with frequency attention.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"overtone {metadata.version('overtone')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    make_printable()


RecipeName = Annotated[str, typer.Argument(help="A shipped recipe's name (see: overtone list recipes) or a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change a setting of the recipe, such as train.lr=0.1; repeatable."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Run a study of very many cells, or of weeks, without asking.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Import and run what the file names beyond built-in parts; see docs/security.md."),
]


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The study's folder; runs/NAME unless given.", show_default=False),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Run one cell (its key or the key's beginning) and what it needs.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Cells trained side by side; as many as cores unless given."),
    ] = None,
    yes: Yes = False,
    debug: Debug = False,
) -> None:
    """Run what is missing of a study, then report. Run it again to continue; when all is done it takes seconds."""
    with one_message(debug):
        from overtone import data
        from overtone.files import expanded
        from overtone.recipe import load
        from overtone.study import claim

        study = load(recipe, overrides)
        folder = expanded(out, "--out") if out else Path("runs") / study.name
        claim(folder, study.name)  # before anything is put there
        try:
            with quiet(), alone(folder), console.status("reading data", spinner="dots") as status:
                windows = data.load(study.data)
                if not yes:
                    _ask(study, windows, status)
                plan = _plan(study, windows)
                status.stop()
                code = _execute(plan, folder, recipe, overrides, only, jobs)
        except KeyboardInterrupt:
            command = _command(recipe, overrides, out)
            command += " --yes" if yes else ""
            command += (f" --only {only}" if only else "") + (f" --jobs {jobs}" if jobs else "")
            console.print(
                f"\nInterrupted. What is finished is kept; go on with:\n  {escape(command)}",
                highlight=False,
                soft_wrap=True,
            )
            leave(INTERRUPTED)
    raise typer.Exit(code)


def _ask(study: Recipe, windows: Windows, status: Status) -> None:
    """A very large study is estimated from its first fold and seed, and run only with the user's word.

    Raises:
        InputError: without that word, or a terminal to ask at.
    """
    from overtone.study import large

    whole = large(study, windows)
    if whole is None:
        return
    from overtone.overview import size_of
    from overtone.study.check import check

    seconds = check(whole.one).cost.seconds * whole.repeats
    if not whole.asks(seconds):
        return
    status.stop()
    message = f"study {study.name}: {size_of(whole, seconds)}"
    if not (console.is_terminal and sys.stdin is not None and sys.stdin.isatty()):
        raise InputError(f"{message}; if that is meant, add --yes")
    if not typer.confirm(f"{message}. Run it?"):
        raise InputError("not run; see seeds, split and epochs")


def _execute(
    plan: Plan, folder: Path, recipe: str, overrides: list[str] | None, only: str | None, jobs: int | None
) -> int:
    from overtone.display import Display
    from overtone.engine import make_accelerator
    from overtone.explain import refresh
    from overtone.study import default_jobs, execute
    from overtone.trust import named_in

    accelerator = make_accelerator()
    if jobs is None:  # a GPU is shared badly by processes that each think it is theirs
        jobs = default_jobs(plan.recipe.train.threads) if accelerator.device.type == "cpu" else 1
    with Display(console, f"study {plan.recipe.name}", plan.windows.task) as display:
        failed = execute(plan, folder, display, only, jobs, accelerator)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return DONE  # the main process tells of failures; at another's, launchers would kill it before it has reported
    with console.status("looking through the models", spinner="dots"):
        refresh(plan, folder)
    _report(folder, {}, named_in(plan.recipe))
    if failed:
        console.print(f"\n[bold red]{len(failed)} of {len(plan.cells)} cells failed[/bold red]; run one alone with:")
        for key, message in failed.items():
            console.print(
                f"  {_command(recipe, overrides, folder)} --only {key}", highlight=False, markup=False, soft_wrap=True
            )
            console.print(f"    {plan.cells[key].title}: {message}", highlight=False, markup=False)
    return SOME_FAILED if failed else DONE


@app.command()
def check(recipe: RecipeName, overrides: Overrides = None, debug: Debug = False) -> None:
    """Look at a study before any training: data, split, views, shapes, terms, costs."""
    with one_message(debug), quiet():
        from overtone import data, overview
        from overtone.recipe import load
        from overtone.study.size import MANY_CELLS, large

        study = load(recipe, overrides)
        windows = data.load(study.data)
        whole = large(study, windows)
        if whole is not None and whole.cells > MANY_CELLS:
            overview.show(console, whole.one, whole)
        else:
            overview.show(console, _plan(study, windows))


@app.command()
def look(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A table, a folder of tables or images, .npz, .mat, .ts, a known set."),
    ],
    write: Annotated[
        Path | None, typer.Option("--write", "-w", help="Write a recipe for it to this file.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the look as a page to this file.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    debug: Debug = False,
) -> None:
    """Look at your own data before any recipe: columns, rate, groups, classes; and write a recipe for them."""
    with one_message(debug, torch_first=False), quiet():
        import tempfile

        from overtone import look as looking
        from overtone.bar import Bar
        from overtone.files import Out, expanded

        path = expanded(data, "DATA")
        asked = [("recipe", write, "--write"), ("page", html, "--html")]
        places = {
            what: Out.named(expanded(out, key), force, (path,), key) for what, out, key in asked if out is not None
        }
        with tempfile.TemporaryDirectory() as folder:
            with Bar(errors) as bar:
                draft = looking.describe(path, Path(folder), bar)
            looking.show_draft(console, draft)
            with console.status("trying a recipe", spinner="dots"):
                import_torch()
                trial = looking.try_out(draft)
                made = {"recipe": looking.recipe_for(draft, trial)}
            looking.show_trial(console, draft, trial)
            if html is not None:
                made["page"] = looking.page(draft, trial, made["recipe"])
        if write is not None and made["recipe"] is None:
            raise InputError(f"{write} is not written; what its recipe needs is said above (No recipe yet)")
        for name, place in places.items():
            new = not place.standard and not place.path.parent.exists()
            with place.open() as file:
                file.write((made[name] or "").encode())
            _say_place(name, place.path)
            if new:
                _say_place("made", place.path.parent)
        if write is not None:
            command = shlex.join(["overtone", "check", str(write)])
            console.print(f"next   {escape(command)}", highlight=False, soft_wrap=True)
        elif made["recipe"] is not None:
            console.print("\n--write mine.yaml writes a recipe for it", style="dim", highlight=False)


def _say_place(what: str, path: Path) -> None:
    console.print(f"{what:<6} {path}", highlight=False, markup=False, soft_wrap=True)


@app.command("list")
def list_(
    what: Annotated[
        str | None, typer.Argument(help="recipes, data, views, models, methods or baselines; all unless given.")
    ] = None,
    debug: Debug = False,
) -> None:
    """What there is, one line each with its source."""
    with one_message(debug):
        from overtone import overview

        lists = overview.LISTS
        if what is not None and what not in lists:
            raise InputError(f"overtone list: unknown {what!r}; {nearest(what, lists)}")
        for name in [what] if what else lists:
            overview.show_list(console, name)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder.")],
    trust: Annotated[
        bool, typer.Option("--trust", help="Import a task that is not built in, which ensembles and images need.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Make tables and page again from what is on disk. Without --trust nothing that a study names is imported."""
    with one_message(debug), quiet():
        from overtone.files import expanded

        folder = expanded(folder, "DIR")
        damaged = _looked_at(folder)
        _report(folder, damaged, trust)
    raise typer.Exit(SOME_FAILED if damaged else DONE)


@app.command()
def explain(
    folder: Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder.")],
    sample: Annotated[
        list[int] | None,
        typer.Option(
            "--sample", help="A window's number in the data, from 0; repeatable. Three test ones unless given."
        ),
    ] = None,
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Where teachers and students look: class activation maps, Grad-CAM and attention on the same windows."""
    with one_message(debug), quiet():
        from overtone import data, overview
        from overtone.explain import collect_study
        from overtone.files import expanded
        from overtone.recipe import validate
        from overtone.report import write_explained, write_page
        from overtone.study import read_study
        from overtone.trust import check_recipe

        folder = expanded(folder, "STUDY")
        study = read_study(folder)
        damaged = _looked_at(folder)
        recipe = validate(study.recipe, str(folder / "study.json"))
        check_recipe(recipe, str(folder / "study.json"), trust)
        with console.status("reading data", spinner="dots"):
            plan = _plan(recipe, data.load(recipe.data))
        if plan.windows.content != study.data.content:
            raise InputError(f"the data of {folder} has changed since its models were trained; run the study again")
        with console.status("looking through the models", spinner="dots"):
            maps = collect_study(plan, folder, sample, trust, damaged)
            page = write_explained(folder, maps, damaged) if sample else write_page(folder, damaged, trust)
        overview.show_explained(console, maps, plan.windows.noun)
        console.print(f"page   {page.resolve()}", highlight=False, markup=False, soft_wrap=True)


def _looked_at(folder: Path) -> dict[str, str]:
    """What is damaged of a study's cells, told; they count as missing."""
    from overtone.study import OLD, damaged_cells, read_study

    cells = read_study(folder).cells
    damaged, old = damaged_cells(folder, cells)
    notes = [f"{cells[key].title}: {how}; run the study again" for key, how in damaged.items()]
    notes += [f"{len(old)} of {len(cells)} cells {OLD}"] if old else []
    for note in notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return damaged


StudentFile = Annotated[Path, typer.Argument(metavar="STUDENT", help="A student.safetensors of a study's cell.")]
DataFile = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="A .npz with X (N, C, T), a table, a folder of tables, images, or what the training read."
    ),
]
Stride = Annotated[str | None, typer.Option(help="Samples, or '1 s', between windows; no overlap unless given.")]
RecordingColumn = Annotated[
    str | None,
    typer.Option("--recording", help="The table's column of recordings; as in training unless given."),
]
TimeColumn = Annotated[
    str | None,
    typer.Option("--time", help="The table's column of time stamps; as in training unless given."),
]
TimeUnitOption = Annotated[
    str | None,
    typer.Option("--time-unit", help="Of numeric time stamps: s, ms, us or ns; as in training unless given."),
]


@app.command()
def predict(
    student: StudentFile,
    data: DataFile,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Where predictions go; predictions.csv, or as the task ends it, unless given. - is standard output.",
            show_default=False,
        ),
    ] = None,
    stride: Stride = None,
    recording: RecordingColumn = None,
    time: TimeColumn = None,
    time_unit: TimeUnitOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Class and probabilities of every window in a file, with its place in its recording, or of every image; or what
    else the student's task writes.
    """
    with one_message(debug), quiet():
        from overtone.bar import Bar
        from overtone.files import Out, expanded
        from overtone.new_data import read_windows
        from overtone.predict import Predictions, write_predictions
        from overtone.student import load_student

        student, data = expanded(student, "STUDENT"), expanded(data, "DATA")
        place = None if out is None else Out.named(expanded(out, "--out"), force, (student, data))
        loaded = load_student(student, trust)
        place = place or Out.named(Path(f"predictions{loaded.task.ENDING}"), force, (student, data))
        says = errors if place.standard else console
        columns = _columns(recording, time, None, time_unit)
        with Bar(errors, shown=not (place.standard and console.is_terminal)) as bar:
            given = read_windows(data, loaded, columns, stride, labelled=False, watch=bar, trust=trust)
            predictions = Predictions(loaded, given, bar)
            with place.open() as file:
                write_predictions(file, predictions)
        for note in predictions.notes:
            says.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)
        target = "standard output" if place.standard else place.path
        says.print(f"{len(given.windows)} {given.windows.noun}s -> {target}", highlight=False, markup=False)


@app.command()
def evaluate(
    student: StudentFile,
    data: DataFile,
    stride: Stride = None,
    recording: RecordingColumn = None,
    time: TimeColumn = None,
    time_unit: TimeUnitOption = None,
    label: Annotated[
        str | None,
        typer.Option(help="The table's column of labels; as in training, else label, unless given."),
    ] = None,
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """A student's scores on labelled windows (a .npz needs y)."""
    with one_message(debug), quiet():
        from overtone import overview
        from overtone.bar import Bar
        from overtone.files import expanded
        from overtone.new_data import read_windows
        from overtone.predict import Predictions
        from overtone.predict import evaluate as score
        from overtone.student import load_student

        student, data = expanded(student, "STUDENT"), expanded(data, "DATA")
        loaded = load_student(student, trust)
        columns = _columns(recording, time, label, time_unit)
        with Bar(errors) as bar:
            given = read_windows(data, loaded, columns, stride, labelled=True, watch=bar, trust=trust)
            predictions = Predictions(loaded, given, bar)
            scores = score(predictions)
        overview.show_evaluation(console, loaded.task, scores, predictions.notes)


def _columns(recording: str | None, time: str | None, label: str | None, time_unit: str | None) -> Columns:
    from overtone.formats.clock import UNITS
    from overtone.new_data import Columns

    if time_unit is not None and time_unit not in UNITS:
        raise InputError(f"--time-unit: unknown unit {time_unit!r}; {nearest(time_unit, UNITS)}")
    return Columns(recording, time, label, cast("TimeUnit | None", time_unit))


def _report(folder: Path, damaged: dict[str, str], trust: bool | frozenset[str]) -> None:
    from overtone.display import table
    from overtone.report import write_page
    from overtone.study import collect, mixed_environments, read_study, write_tables

    rows = collect(folder, damaged, trust)
    write_tables(folder, rows, damaged)
    page = write_page(folder, damaged, trust)
    study = read_study(folder)
    console.print(table(rows, console.width, study.task.metrics, study.data.material.groups))
    for warning in mixed_environments(folder, damaged):
        console.print(f"[yellow]{escape(warning)}[/yellow]")
    console.print(
        f"tables {folder / 'table.csv'}\npage   {page.resolve()}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _plan(study: Recipe, windows: Windows) -> Plan:
    from overtone.study import make_plan

    return make_plan(study, windows)


def _command(recipe: str, overrides: list[str] | None, out: Path | None) -> str:
    words = ["overtone", "run", recipe, *(word for o in overrides or [] for word in ("--set", o))]
    return shlex.join([*words, *(["--out", str(out)] if out else [])])


def main() -> None:
    """The ``overtone`` command."""
    end_on_interrupt()
    sys.exit(app())


if __name__ == "__main__":
    main()
