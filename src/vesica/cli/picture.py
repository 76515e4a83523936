"""A small picture, in text, of where the true count may be.

The distribution of the noise, around what was released.
"""

from dataclasses import dataclass
from typing import Final

from vesica.accuracy import ALPHA, bound, probability, tail

_ROWS: Final = 4
_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_EIGHTHS_ASCII: Final = " ..::||##"
_WIDTH_MIN: Final = 24  # columns; below, a picture says nothing
_WIDTH_MAX: Final = 65
_CELL_MAX: Final = 3  # columns for one whole number, where there are few
_MARGIN: Final = 2
_VISIBLE: Final = 1e-3  # of the highest bar; below, a bar is left out rather than drawn at its least height


@dataclass(frozen=True)
class Bar:
    """The probability that the noise is one of low..high, both included, in rows."""

    low: int
    high: int
    mass: float


def mass(epsilon_nano: int, low: int, high: int) -> float:
    """P(low <= noise <= high). low, high: whole numbers, in rows."""
    if low == high:
        return probability(epsilon_nano, low)
    if low > 0:
        return (tail(epsilon_nano, low) - tail(epsilon_nano, high + 1)) / 2
    if high < 0:
        return mass(epsilon_nano, -high, -low)
    return 1 - _one_tail(epsilon_nano, 1 - low) - _one_tail(epsilon_nano, high + 1)


def _one_tail(epsilon_nano: int, k: int) -> float:
    return tail(epsilon_nano, k) / 2


def bars(epsilon_nano: int, columns: int) -> list[Bar]:
    """An odd number of bars, at most ``columns``, all equally wide, the middle one around 0.

    They hold some 99 %.
    """
    reach = max(3, bound(epsilon_nano, ALPHA / 5))
    each_side = max(1, min(reach, (columns - 1) // 2))
    step = -(-reach // each_side)
    step += 1 - step % 2  # odd, so that the middle bar has as many numbers above 0 as below
    each_side = -(-reach // step)
    found = []
    for i in range(-each_side, each_side + 1):
        low = i * step - step // 2
        found.append(Bar(low, low + step - 1, mass(epsilon_nano, low, low + step - 1)))
    return found


def picture(value: int, epsilon_nano: int, width: int, *, unicode: bool = True) -> list[str]:
    """Lines, none wider than ``width``; none at all where there is no room. value: the draw.

    The bars stand for true counts around the draw; one that would be below 0 is dotted, for a count never is.
    The axis marks the 95 % interval.
    """
    columns = min(width - 2 * _MARGIN, _WIDTH_MAX)
    if columns < _WIDTH_MIN - 2 * _MARGIN:
        return []
    all_bars = bars(epsilon_nano, columns)
    cell = max(1, min(_CELL_MAX, columns // len(all_bars)))
    half = len(all_bars) // 2
    step = all_bars[half].high - all_bars[half].low + 1
    marked = (bound(epsilon_nano, ALPHA) + step // 2) // step
    drawn = _columns(value, all_bars, cell, unicode=unicode)
    middle = half * cell + cell // 2
    ends = (middle - marked * cell, middle + marked * cell)
    axis = _axis(len(all_bars) * cell, middle, ends, unicode=unicode)
    within = bound(epsilon_nano, ALPHA)
    labels = _labels([(ends[0], value - within), (middle, value), (ends[1], value + within)], width - 2 * _MARGIN)
    lines = [*drawn, axis, labels] if labels else [*drawn, axis]
    return [(" " * _MARGIN + line).rstrip() for line in lines]


def _columns(value: int, all_bars: list[Bar], cell: int, *, unicode: bool) -> list[str]:
    blocks = _EIGHTHS if unicode else _EIGHTHS_ASCII
    top = max(bar.mass for bar in all_bars)
    lines = []
    for row in reversed(range(_ROWS)):
        line = ""
        for bar in all_bars:
            if value + bar.high < 0:
                character = ("·" if unicode else ",") if row == 0 else " "
            else:
                share = bar.mass / top
                eighths = max(int(share > _VISIBLE), round(share * _ROWS * 8))
                character = blocks[max(0, min(8, eighths - row * 8))]
            # A column between two bars, where there is space for it, keeps whole numbers apart.
            line += character if cell == 1 else character * (cell - 1) + " "
        lines.append(line)
    return lines


def _axis(columns: int, middle: int, ends: tuple[int, int], *, unicode: bool) -> str:
    line, left, here, right = "─├┼┤" if unicode else "-[+]"
    axis = [line] * columns
    axis[ends[0]], axis[ends[1]] = left, right
    axis[middle] = here
    return "".join(axis)


def _labels(places: list[tuple[int, int]], width: int) -> str:
    """Numbers centred under their places; only the middle one where they would touch."""
    for chosen in (sorted(set(places)), [places[1]]):
        text = ""
        for place, number in chosen:
            label = f"{number:,}"
            start = max(0, place - (len(label) - 1) // 2)
            if text and start < len(text) + 2:
                break
            text = text.ljust(start) + label
        else:
            if len(text) <= width:
                return text
    return ""
