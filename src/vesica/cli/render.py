"""What answers look like to a person."""

from collections.abc import Sequence
from decimal import Decimal

from vesica.agreement import Agreement, digest
from vesica.answers import Accuracy, AgreementShown, Budget, Plan, Release, RoomState, Submission
from vesica.cli.affords import RELEASES, affords, poorest
from vesica.cli.picture import picture
from vesica.cli.screen import Screen
from vesica.epsilon import format_epsilon
from vesica.limits import EPSILON_LIMIT_NANO_MAX, EPSILON_RELEASE_NANO_MIN

_BAR: int = 20  # columns


def exact(amount: Decimal) -> str:
    """An amount of epsilon, without an exponent."""
    return format(amount, "f")


def _percent(accuracy: Accuracy) -> str:
    return f"{100 * (1 - accuracy.alpha):.3g} %"


def show_room(screen: Screen, state: RoomState, agreement: AgreementShown) -> None:
    """The room's state, and which agreement it carries out."""
    meaning = {
        "collecting": "not all parties have submitted yet",
        "open": "all parties have submitted; it answers questions",
        "closed": "data and keys are destroyed",
    }
    screen.line(f'room "{agreement.name}" is {state.state}: {meaning[state.state]}', "bold")
    for party in state.parties:
        screen.line(f"  {party.name}: {'has submitted' if party.submitted else 'has not submitted'}")
    screen.line(f"agreement {agreement.digest}", "dim")


def show_submission(screen: Screen, submission: Submission, agreement: AgreementShown) -> None:
    """An accepted submission."""
    dropped = f", {submission.dropped:,} repeated rows dropped" if submission.dropped else ""
    screen.line(f"accepted: {submission.rows:,} rows of {submission.party}{dropped}", "bold")
    screen.line(f"agreement {agreement.digest}", "dim")


def show_plan(screen: Screen, plan: Plan, budgets: Sequence[Budget]) -> None:
    """What a release would cost and how far off it might be.

    Budgets: none where there was no token to ask for them.
    """
    screen.line(f"{plan.statistic} of {', '.join(plan.parties)} at ε {exact(plan.epsilon)} would cost", "bold")
    left = {budget.name: budget.remaining for budget in budgets}
    rows = []
    for cost in plan.cost:
        more = [exact(left[cost.name]), f"{int(left[cost.name] // cost.epsilon):,}"] if cost.name in left else []
        if cost.epsilon > 0:
            rows.append([cost.name, exact(cost.epsilon), *more])
    screen.table(["party", "ε", *(["left", "enough for"] if left else [])], rows)
    screen.line("and be within this many rows of the truth", "bold")
    screen.table(["probability", "rows"], [[_percent(a), f"± {a.bound:,}"] for a in plan.accuracy])
    screen.line(f"noise: {plan.mechanism}, scale {plan.scale:g} · protects {plan.unit} · nothing was spent", "dim")


def show_release(screen: Screen, release: Release) -> None:
    """A release: the number, its interval, and a picture of where the truth may be."""
    screen.line(f"release {release.number} · {release.statistic} of {', '.join(release.parties)}")
    screen.line()
    sure = _percent(release.accuracy)
    screen.line(
        f"  {release.shown:,}   {sure} interval: {release.low:,} to {release.high:,} (± {release.accuracy.bound:,})",
        "bold",
    )
    if release.value < 0:
        screen.line(f"  the draw was {release.value:,}; shown as 0, because a count is never below")
    screen.line()
    nano = int(release.epsilon * 10**9)
    if release.mechanism == "discrete_laplace" and EPSILON_RELEASE_NANO_MIN <= nano <= EPSILON_LIMIT_NANO_MAX:
        screen.lines(picture(release.value, nano, screen.width, unicode=screen.unicode), "cyan")
        screen.line()
    if release.stored:
        screen.line("asked before: this is the stored answer, and it cost nothing", "green")
    else:
        screen.line(f"cost: ε {exact(release.epsilon)} of the budget of each party named")
    screen.line(f"noise: {release.mechanism}, scale {release.scale:g} · protects {release.unit}", "dim")
    screen.line(f"agreement {release.agreement_digest}", "dim")


def show_releases(screen: Screen, releases: Sequence[Release]) -> None:
    """All past releases."""
    if not releases:
        screen.line("nothing has been released yet")
        return
    rows = [
        [
            str(release.number),
            str(release.statistic),
            ", ".join(release.parties),
            f"{release.shown:,}{' *' if release.value < 0 else ''}",
            f"± {release.accuracy.bound:,}",
            exact(release.epsilon),
        ]
        for release in releases
    ]
    screen.table(["no.", "statistic", "parties", "count", "95 %", "ε"], rows, left=3)
    if any(release.value < 0 for release in releases):
        screen.line("* drawn below 0, shown as 0; --json has the draw", "dim")


def show_budgets(screen: Screen, budgets: Sequence[Budget]) -> None:
    """What each party allows, has spent and has left."""
    rows = [[b.name, exact(b.limit), exact(b.spent), exact(b.remaining), _gauge(b)] for b in budgets]
    screen.table(["party", "limit ε", "spent", "left", ""], rows)


def _gauge(budget: Budget) -> str:
    used = 0 if not budget.limit else min(_BAR, int(budget.spent * _BAR / budget.limit))
    return "█" * used + "░" * (_BAR - used)


def show_agreement(screen: Screen, agreement: Agreement) -> None:
    """An agreement: its digest, and what each party's limit affords."""
    screen.line(f'agreement "{agreement.name}" can be carried out', "bold")
    screen.line(f"digest {digest(agreement)}")
    screen.line()
    screen.paragraph(
        "How far off a release is at most, 19 times out of 20, if a party's limit is spent on so many of equal cost:"
    )
    heads = ["party", "limit ε", *map(str, RELEASES)]
    rows = []
    for party in agreement.parties:
        cells = []
        for share in affords(agreement, party):
            if share.epsilon_nano is None:
                cells.append("–")
            else:
                cells.append(f"± {share.bound:,}\nε {format_epsilon(share.epsilon_nano)}")
        rows.append([party.name, format_epsilon(party.epsilon_nano), *cells])
    screen.table(heads, rows)
    first = poorest(agreement)
    screen.paragraph(
        f"A release costs every party that it is about; what is asked of all ends with the limit of {first.name} "
        f"(ε {format_epsilon(first.epsilon_nano)})."
    )
    least = agreement.releases.epsilon_min_nano
    if least > EPSILON_RELEASE_NANO_MIN:
        screen.paragraph(f"No release costs less than ε {format_epsilon(least)} (epsilon_min).")
