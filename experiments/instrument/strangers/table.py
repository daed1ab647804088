"""The tables of the page on strangers' ports, in Markdown."""

from typing import Any

from experiments import markdown, record

NAME = "strangers"
# Of what the check says, in a cell.
LONGEST = 200
WORDS = {True: "true", False: "**false**", None: "not read"}


def totals() -> str:
    """What came of all of them, as a list."""
    result = record.read(NAME)
    counts = result["totals"]
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in counts["verdicts"].items())
    lines = [
        f"{counts['implementations']} implementations from {counts['repositories']} repositories: {verdicts}.",
        f"Verdicts that reading the code shows to be false: {counts['false_verdicts']}.",
        f"Differences, and verdicts without any, those of one kind in one implementation counted once: "
        f"{counts['true']} true, {counts['false']} false, {counts['not_read']} not read.",
    ]
    return _with_machine("\n".join(f"- {line}" for line in lines), result)


def ports() -> str:
    """Every implementation: what was run, the verdict, the first place and the kinds of differences."""
    result = record.read(NAME)
    body = [
        [
            port["repository"],
            port["what"],
            port["twin"],
            port["input"],
            port["verdict"],
            WORDS[port["true"]] if port["verdict"] != "not run" else "",
            f"`{port['first'][0]}`, {port['first'][1]}" if port["first"] else "",
            ", ".join(dict.fromkeys(f"`{item['id']}`" for item in port["differences"] if item["place"])),
            f"{port['seconds']:.0f} s",
        ]
        for port in _ports(result)
    ]
    header = ["repository", "what", "twin", "input", "verdict", "so?", "first place", "causes", "time"]
    return _with_machine(markdown.rows(header, body), result)


def readings() -> str:
    """Every kind of difference in every implementation, and what reading the code says of it."""
    return _readings(None)


def false() -> str:
    """What was said and is not so."""
    return _readings(False)


def _readings(only: bool | None) -> str:
    result = record.read(NAME)
    body = [
        _line(result, port, item)
        for port in _ports(result)
        for item in port["differences"]
        if only is None or item["true"] is only
    ]
    if not body:
        return "None."
    return markdown.rows(["implementation", "said", "places", "so?", "checked by reading"], body)


def _ports(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The implementations, those of one repository together."""
    names = list(result["repositories"])
    return sorted(result["ports"], key=lambda port: names.index(port["repository"]))


def _line(result: dict[str, Any], port: dict[str, Any], item: dict[str, Any]) -> list[str]:
    commit = result["repositories"][port["repository"]]
    reading = item["reading"]
    words = item["torch"] + (f" / {item['flax']}" if item["flax"] else "")
    said = f"`{item['id']}`: {words if len(words) <= LONGEST else words[:LONGEST] + ' …'}"
    places = f"`{item['place']}`" + (f" and {item['places'] - 1} more" if item["places"] > 1 else "")
    seen = ""
    if reading is not None:
        link = f"https://github.com/{port['repository']}/blob/{commit}/{reading['file']}#L{reading['line']}"
        seen = f"{reading['says']} [{reading['file'].rsplit('/', 1)[-1]}:{reading['line']}]({link})"
    return [
        _cell(text)
        for text in (port["key"], said, places if item["place"] else "", WORDS[item["true"]], seen)
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _with_machine(text: str, result: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in result["packages"].items())
    return f"{text}\n\nMeasured on: {markdown.where(result)}; {packages}."
