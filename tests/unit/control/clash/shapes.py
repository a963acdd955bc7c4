"""What mihomo 1.19.32 answered (recorded.json), and whether another answer has the same keys and types."""

import json
from pathlib import Path
from typing import Any

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded.json").read_text())


def body(name: str) -> Any:
    return RECORDED[name]["body"]


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Return where ours is of another type than theirs, or has not its keys. Further keys are allowed.

    Any of our list's members is compared with the first of theirs; an empty list and null say nothing.
    """
    if theirs is None or ours is None:
        return []
    if isinstance(theirs, bool) != isinstance(ours, bool) or not isinstance(ours, _kind(theirs)):
        return [f"{where}: {type(ours).__name__} instead of {type(theirs).__name__}"]
    if isinstance(theirs, dict):
        missing = [f"{where}.{key} is missing" for key in theirs if key not in ours]
        return missing + [
            each
            for key in theirs
            if key in ours
            for each in differences(ours[key], theirs[key], f"{where}.{key}")
        ]
    if isinstance(theirs, list) and theirs:
        return [each for at, one in enumerate(ours) for each in differences(one, theirs[0], f"{where}[{at}]")]
    return []


def _kind(value: Any) -> Any:
    return (int, float) if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


def same_shape(ours: Any, theirs: Any) -> None:
    found = differences(ours, theirs)
    assert not found, "\n".join(found)
    assert keys_beyond(ours, theirs) == []


def keys_beyond(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Return the keys that theirs does not have; names of proxies are none."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            each
            for key in ours
            for each in (
                keys_beyond(ours[key], theirs[key], f"{where}.{key}") if key in theirs else [f"{where}.{key}"]
            )
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and theirs:
        return [each for one in ours for each in keys_beyond(one, theirs[0], f"{where}[]")]
    return []
