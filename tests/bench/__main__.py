"""The command line: which scenarios, how long, how often, and in which form the results come."""

import sys

import click

from tests.bench import report
from tests.bench.processes import compiler
from tests.bench.scenarios import FLOOR, Figures, Scenario, scenarios


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(scenarios())))
@click.option("--seconds", type=click.FloatRange(min=0.5), default=5.0, show_default=True, help="To count in each run.")
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True, help="Runs; medians are shown.")
@click.option("--quick", is_flag=True, help="The same as --seconds 2 --repeat 1.")
@click.option(
    "--floor", is_flag=True, help="Compare with a bare sender in C, in turn with the proxy; needs a compiler."
)
@click.option(
    "--rival",
    type=click.Path(exists=True, dir_okay=False),
    metavar="PYTHON",
    help="Compare HLS with Streamlink, in turn with the proxy; the path of a Python that has it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: medians, ratios, and every run.")
def main(
    names: tuple[str, ...], seconds: float, repeat: int, quick: bool, floor: bool, rival: str | None, as_json: bool
) -> None:
    """Measure what the proxy costs and how well it serves: an upstream, the proxy and viewers, all on this machine.

    Without a name, every scenario is run. Machines are moody, and others work on them too: trust ratios of the same
    call more than numbers. Memory leaves out files that are mapped; ratios are medians over pairs of runs.
    """
    known = scenarios(rival)
    if floor and not compiler():
        raise click.UsageError("--floor needs a C compiler: cc, gcc or clang")
    if quick:
        seconds, repeat = 2.0, 1
    results = {}
    for name in names or known:
        results[name] = _run(name, known[name], seconds, repeat, floor=floor)
        if not as_json:
            click.echo(report.table(name, known[name], results[name]))
    if as_json:
        click.echo(report.as_json(results))


def _run(name: str, scenario: Scenario, seconds: float, repeat: int, *, floor: bool) -> dict[str, list[Figures]]:
    sides = {side: measure for side, measure in scenario.sides.items() if floor or side != FLOOR}
    runs: dict[str, list[Figures]] = {side: [] for side in sides}
    for repetition in range(1, repeat + 1):
        for side, measure in sides.items():
            if sys.stderr.isatty():
                click.echo(f"\r\033[K{name}: {side}, {repetition} of {repeat}", nl=False, err=True)
            runs[side].append(measure(seconds))
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    return runs


if __name__ == "__main__":
    main()
