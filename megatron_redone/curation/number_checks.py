"""What a number must agree with to be what it looks like: a checksum, or a plan of numbers."""

import datetime
import ipaddress
import re

_REGIONS = frozenset(
    [11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63,
     64, 65, 71, 81, 82, 83]
)  # fmt: skip
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"


def bare(number: str) -> str:
    """Its digits, and the letter X."""
    return re.sub(r"[^0-9Xx×]", "", number)


def is_grouped(number: str) -> bool:
    """Written as numbers are: in groups of three to eight, in pairs or digit by digit, with one kind of mark."""
    if number.isdecimal():
        return True
    body = re.sub(r"^[(]?(?:\+|00)?86[)]?[ .\-_/]{0,2}(?=1)", "", number)
    if body.isdecimal():
        return True
    gaps = set(re.findall(r"[^0-9]+", body))
    lengths = [len(group) for group in re.findall(r"[0-9]+", body)]
    return len(gaps) == 1 and (max(lengths) == 1 or sum(length <= 2 for length in lengths) <= 1 or min(lengths) == 2)


def is_id_card(number: str) -> bool:
    """A region, a day of birth and a checksum (GB 11643); of 18 digits, or 17 and X."""
    number = number.upper().replace("×", "X")
    if int(number[:2]) not in _REGIONS or not number[:17].isdecimal():
        return False
    try:
        born = datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, number, strict=False))
    return 1850 <= born.year <= 2100 and number[17] == _ID_CHECKS[total % 11]


def is_bank_card(number: str) -> bool:
    """Luhn, and a prefix with its length: UnionPay, Visa, Mastercard, American Express, JCB, Discover, Diners."""
    first, size = int(number[:4]), len(number)
    known = (
        (number[:2] == "62" and 16 <= size <= 19)
        or (number[0] == "4" and size in (13, 16, 19))
        or ((5100 <= first <= 5599 or 2221 <= first <= 2720) and size == 16)
        or (number[:2] in ("34", "37") and size == 15)
        or (3528 <= first <= 3589 and size == 16)
        or ((first == 6011 or number[:2] in ("64", "65", "60")) and size in (16, 19))
        or (number[:2] in ("36", "38", "39") and size == 14)
    )
    if not known or len(set(number)) < 2:
        return False
    doubled = [int(digit) * (1 + i % 2) for i, digit in enumerate(reversed(number))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def is_telephone(number: str) -> bool:
    """Whether a number with its country's code is in the country's plan of numbers."""
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False


def is_national(number: str) -> bool:
    """Valid where most of our posts come from; only asked where a word says that it is a telephone number."""
    import phonenumbers

    for region in ("CN", "US", "GB", "IN", "AU", "HK", "TW", "SG", "NG", "ZA", "PH", "MY"):
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(number, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


def is_ip_address(text: str, version: int) -> bool:
    """An IP address of version 4 or 6 that can be somebody's.

    Four numbers of fewer than nine characters are taken for none: in real text they are versions, sections and the
    formulas of teeth (3.1.4.2), so that 8.8.8.8 stays, too.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if version == 6:
        return text.count(":") >= 3 and len(text) >= 8
    return not (address.is_unspecified or address.is_loopback) and int(text.split(".")[0]) > 0 and len(text) >= 9
