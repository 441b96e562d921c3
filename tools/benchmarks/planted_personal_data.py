"""Personal data made up as their issuers make them, in the spellings of social networks: KIND -> (phrase, core).

Nobody's: numbers are drawn at random and given the check digits that real ones have. `core` is the text that
must be gone afterwards.
"""

import random
import string
from collections.abc import Callable

Made = tuple[str, str]

_CHINESE = dict(zip("0123456789", "零一二三四五六七八九", strict=True))
_WIDE = {c: chr(ord(c) + 0xFEE0) for c in string.ascii_letters + string.digits + "@.-:_"}
_KEYCAP = {c: f"{c}\ufe0f\u20e3" for c in string.digits}
_PREFIXES = ["130", "135", "138", "139", "150", "151", "158", "159", "176", "177", "186", "187", "188", "189", "199"]
_SURNAMES = ["zhang", "wang", "lily", "coco", "mike", "jenny", "xiaoyu", "happy", "star", "leo"]


def _digits(rng: random.Random, number: int) -> str:
    return "".join(rng.choices(string.digits, k=number))


def _written(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(c, c) for c in text)


def _name(rng: random.Random) -> str:
    return rng.choice(_SURNAMES) + rng.choice(["_", "", "-"]) + _digits(rng, rng.randint(2, 5))


def email(rng: random.Random, language: str) -> Made:
    domain = rng.choice(["gmail.com", "qq.com", "163.com", "outlook.com", "mail.example.org", "foo.edu.cn"])
    address = f"{_name(rng)}@{domain}"
    wide = _written(address, {"@": "＠", ".": "．"})
    core = rng.choice([address, address.upper(), wide, address.replace("@", " @ ")])
    core = core if rng.random() < 0.8 else address.replace("@", " (at) ").replace(".", " (dot) ")
    return (f"邮箱{core}" if language == "zh" else f"mail me: {core}"), core


def phone_cn(rng: random.Random, language: str) -> Made:
    number = rng.choice(_PREFIXES) + _digits(rng, 8)
    core = rng.choice(
        [
            number,
            f"{number[:3]} {number[3:7]} {number[7:]}",
            f"{number[:3]}-{number[3:7]}-{number[7:]}",
            f"+86 {number}",
            f"+86-{number[:3]}-{number[3:7]}-{number[7:]}",
            " ".join(number),
            _written(number, _WIDE),
            _written(number, _CHINESE),
            _written(number, _KEYCAP),
            f"{number[:3]}.{number[3:7]}.{number[7:]}",
        ]
    )
    return (f"{rng.choice(['电话', '手机号', '打我', ''])}{core}" if language == "zh" else f"call {core}"), core


def phone_international(rng: random.Random, language: str) -> Made:
    core = rng.choice(
        [
            lambda: f"+1 {rng.choice(['212', '415', '312', '646'])}-{rng.randint(220, 989)}-{_digits(rng, 4)}",
            lambda: f"({rng.choice(['212', '415', '312', '646'])}) {rng.randint(220, 989)}-{_digits(rng, 4)}",
            lambda: f"{rng.choice(['212', '415', '312', '646'])}.{rng.randint(220, 989)}.{_digits(rng, 4)}",
            lambda: f"+44 7{rng.choice(['400', '700', '911', '800'])} {_digits(rng, 6)}",
            lambda: f"+852 {rng.choice('69')}{_digits(rng, 3)} {_digits(rng, 4)}",
            lambda: f"+65 9{_digits(rng, 3)} {_digits(rng, 4)}",
            lambda: f"+81 90-{rng.randint(1000, 9999)}-{_digits(rng, 4)}",
            lambda: f"+61 4{rng.choice(['12', '13', '14'])} {_digits(rng, 3)} {_digits(rng, 3)}",
        ]
    )()
    import phonenumbers

    region = None if core.startswith("+") else "US"
    if not phonenumbers.is_valid_number(phonenumbers.parse(core, region)):
        return phone_international(rng, language)
    return (f"打{core}" if language == "zh" else f"text {core}"), core


def id_card(rng: random.Random, language: str) -> Made:
    body = rng.choice(["110105", "310104", "440305", "510107", "330106", "420106", "610113"])
    body += f"{rng.randint(1950, 2012)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}{_digits(rng, 3)}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    number = body + "10X98765432"[sum(w * int(d) for w, d in zip(weights, body, strict=True)) % 11]
    groups = [number[:6], number[6:14], number[14:]]
    core = rng.choice([number, number.lower(), " ".join(groups), "-".join(groups), _written(number, _WIDE)])
    return (f"身份证{core}" if language == "zh" else f"my Chinese ID is {core}"), core


def bank_card(rng: random.Random, language: str) -> Made:
    prefix, size = rng.choice(
        [("622202", 19), ("621700", 19), ("622848", 19), ("625", 16), ("4", 16), ("51", 16), ("37", 15)]
    )
    body = prefix + _digits(rng, size - len(prefix) - 1)
    total = sum((2 * int(d) - 9 * (int(d) > 4)) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(body)))
    number = body + str(-total % 10)
    groups = [number[i : i + 4] for i in range(0, size, 4)]
    core = rng.choice([number, " ".join(groups), "-".join(groups), _written(number, _WIDE)])
    return (f"卡号{core}" if language == "zh" else f"card {core}"), core


def ip(rng: random.Random, language: str) -> Made:
    if rng.random() < 0.2:
        core = "2001:" + ":".join(f"{rng.randint(0x100, 0xFFFF):x}" for _ in range(7))
    else:
        core = ".".join(str(rng.randint(11, 223)) for _ in range(4))
    return (f"IP是{core}" if language == "zh" else f"from {core}"), core


def wechat(rng: random.Random, language: str) -> Made:
    core = _name(rng) if rng.random() < 0.7 else rng.choice(_PREFIXES) + _digits(rng, 8)
    chinese = [
        "加我V：{}",
        "微信号：{}",
        "微信{}",
        "薇信 {}",
        "加vx{}",
        "V❤信: {}",
        "威信:{}",
        "加微{}",
        "wx：{}",
        "加我微信 {}",
    ]
    english = ["wechat: {}", "add my WeChat {}", "WeChat ID is {}", "vx {}"]
    return rng.choice(chinese if language == "zh" else english).format(core), core


def qq(rng: random.Random, language: str) -> Made:
    core = str(rng.randint(1, 9)) + _digits(rng, rng.randint(5, 9))
    core = core if rng.random() < 0.7 else rng.choice([_written(core, _WIDE), _written(core, _CHINESE)])
    chinese = ["QQ{}", "扣扣：{}", "加q {}", "qq号 {}", "企鹅{}", "Q：{}", "扣 扣{}", "QQ群：{}"]
    return rng.choice(chinese if language == "zh" else ["QQ: {}", "my qq is {}"]).format(core), core


def plate(rng: random.Random, language: str) -> Made:
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    head = rng.choice("京沪粤浙苏川鄂湘闽鲁") + rng.choice(letters[:8])
    tail = rng.choice([_digits(rng, 5), rng.choice(letters) + _digits(rng, 4), "D" + _digits(rng, 5)])
    core = head + rng.choice(["", "·", " "]) + tail
    return (f"车牌{core}" if language == "zh" else f"plate {core}"), core


def address(rng: random.Random, language: str) -> Made:
    if language == "zh":
        street = rng.choice(["中山路", "人民大道", "建国路", "学院街", "张江路", "解放巷"])
        core = (
            f"{street}{rng.randint(1, 999)}号{rng.choice(['', '院'])}{rng.randint(1, 20)}栋{rng.randint(101, 2809)}室"
        )
        return f"地址：{rng.choice(['上海市浦东新区', '北京市海淀区', '武汉市洪山区', ''])}{core}", core
    street = rng.choice(["Baker", "Oak Hill", "Washington", "Maple", "Lincoln", "42nd"])
    core = f"{rng.randint(10, 9999)} {street} {rng.choice(['Street', 'St', 'Ave', 'Road', 'Drive', 'Lane'])}"
    return f"send it to {core}", core


KINDS: dict[str, Callable[[random.Random, str], Made]] = {
    "email": email,
    "phone_cn": phone_cn,
    "phone_international": phone_international,
    "id_card": id_card,
    "bank_card": bank_card,
    "ip": ip,
    "wechat": wechat,
    "qq": qq,
    "plate": plate,
    "address": address,
}
