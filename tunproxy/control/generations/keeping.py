"""Puts together what keeps generations for one supervisor of ``up``."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.state_files import StateFiles
from tunproxy.control.crew import Crew
from tunproxy.control.generations.applying import Applying
from tunproxy.control.generations.book import Book
from tunproxy.control.generations.desk import Desk, folder_for
from tunproxy.control.generations.store import Store
from tunproxy.control.generations.undoing import Undoing
from tunproxy.control.naming import state_folder
from tunproxy.control.plan import Plan
from tunproxy.control.reload import Reloader
from tunproxy.control.settings import UpSettings
from tunproxy.errors import TunproxyError
from tunproxy.upstream.types import passwords_in


def keeping(plan: Plan, crew: Crew, reloader: Reloader) -> tuple[Desk, Applying]:
    """Return what answers for generations, and what looks after new ones, as reloader's trial."""
    wishes, state = crew.settings.wishes, StateFiles(state_folder())
    asking = Asking(crew.questions)

    async def choose(then: Mapping[str, str]) -> None:
        """Have members of groups be those of then; what is not there any more stays as it is."""
        for group in {*then, *wishes.choices}:
            member = then.get(group, "")
            if wishes.choices.get(group, "") == member:
                continue
            with contextlib.suppress(TunproxyError):
                await asking.each("helm-choose", {"group": group, "member": member})
                wishes.choices.pop(group, None)
                if member:
                    wishes.choices[group] = member
        state.keep_choices(wishes.choices)

    store = Store(folder_for(state_folder(), plan.name))
    book = Book(store, options_in_words(plan.settings), lambda: wishes.choices)
    applying = Applying(reloader, book)
    reloader.trial, crew.died = applying, applying.worker_died
    undoing = Undoing(book, plan.settings.policy, lambda: reloader.sources.config.plugins.folder)
    return Desk(reloader, applying, undoing, choose), applying


def options_in_words(settings: UpSettings) -> dict[str, str]:
    """Return what the command line says, by option; without passwords, and paths are absolute."""
    policy, capture = settings.policy, settings.capture
    url = policy.upstream.reveal()
    for password in passwords_in(url):
        url = url.replace(password, "***")
    found: dict[str, object] = {
        "config": str(Path(policy.config).absolute()) if policy.config else "",
        "rules": str(Path(policy.rules).absolute()) if policy.rules else "",
        "upstream": url,
        "plugin": "\n".join(str(Path(each).absolute()) for each in policy.plugins),
    }
    for name in settings.said - {*found, "route", "no_route"}:
        value = getattr(settings, name, getattr(capture, name, getattr(capture, f"{name}s", None)))
        found[name.replace("_", "-")] = "\n".join(map(str, value)) if isinstance(value, tuple) else value
    if settings.said & {"route", "no_route"}:
        found["route"] = "\n".join(settings.routes) or "none"
    return {name: str(value) for name, value in found.items() if value not in ("", None)}
