"""Money as integers.

Inside, every amount is a whole number of nano-dollars (1 USD = 1,000,000,000), which fits a 64-bit column up to
nine billion dollars. At the edges (files, HTTP, screens) amounts are decimal strings. Floats are refused: 0.1 + 0.2
is not 0.3 there, and a limit of $0.30 must admit three calls of $0.10.
"""

import re
from decimal import Decimal, InvalidOperation, Overflow

from .errors import MoneyError

NANO = 1_000_000_000
LARGEST = 9_000_000_000 * NANO
CENT = NANO // 100

_DECIMAL = re.compile(r"[+-]?(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][+-]?\d{1,6})?", re.ASCII)


def parse(amount: str | int | Decimal) -> int:
    """Read dollars as nano-dollars.

    Args:
        amount: dollars, as a decimal string (``"5.00"``), a whole number or a Decimal. Not negative.

    Raises:
        MoneyError: not a decimal number, negative, a float, finer than a nano-dollar, or above nine billion.
    """
    if isinstance(amount, bool | float) or not isinstance(amount, str | int | Decimal):
        raise MoneyError(f'{amount!r} is not an amount: write dollars as a string, like "5.00"')
    if isinstance(amount, str) and not _DECIMAL.fullmatch(amount.strip()):
        raise MoneyError(f'{amount[:40]!r} is not an amount: write dollars as a string, like "5.00"')
    try:
        nano = Decimal(amount.strip() if isinstance(amount, str) else amount) * NANO
    except (InvalidOperation, Overflow):
        raise MoneyError(f'{amount!r} is not an amount: write dollars as a string, like "5.00"') from None
    if not nano.is_finite() or nano < 0 or nano > LARGEST:
        raise MoneyError(f"{amount!r} is out of range: amounts lie between 0 and 9,000,000,000 dollars")
    if nano != nano.to_integral_value():
        raise MoneyError(f"{amount!r} is finer than a nano-dollar (nine decimals)")
    return int(nano)


def usd(nano: int) -> str:
    """Write nano-dollars exactly, with at least two decimals: ``1500000 -> "0.0015"``, ``5 * NANO -> "5.00"``."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, fraction = divmod(nano, NANO)
    return f"{sign}{whole}.{f'{fraction:09d}'.rstrip('0').ljust(2, '0')}"


def show_spent(nano: int) -> str:
    """Write an amount spent for a person: cents, rounded up, finer below a cent (``"$0.0013"``)."""
    return _show(nano, up=True)


def show_left(nano: int) -> str:
    """Write an amount left for a person: cents, rounded down, so that it is never promised twice."""
    return _show(max(nano, 0), up=False)


def _show(nano: int, *, up: bool) -> str:
    step = CENT if nano >= CENT or nano == 0 else CENT // 100
    units = -(-nano // step) if up else nano // step
    whole, fraction = divmod(units * step, NANO)
    places = 2 if step == CENT or not units else 4
    return f"${whole:,}.{f'{fraction:09d}'[:places]}"
