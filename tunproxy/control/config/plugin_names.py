"""What the configuration says of plugins: that there are not, or of options that they have not."""

from tunproxy.control.config.positions import Path
from tunproxy.control.config.problems import did_you_mean
from tunproxy.control.config.tables import Checker, Document
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.settings import PluginSettings
from tunproxy.rules.files import Notice


def unknown_plugins(document: Document, settings: PluginSettings, plugins: Plugins) -> list[Notice]:
    """Return a notice for each name below [plugins], in allow and in deny, that no plugin has."""
    known = {*plugins.names, *(found.name for found in plugins.offered)}
    named: list[tuple[str, Path]] = [(name, ("plugins", name)) for name in settings.plugins]
    named += [(name, ("plugins", "allow")) for name in sorted(settings.allow or ())]
    named += [(name, ("plugins", "deny")) for name in sorted(settings.deny)]
    return [
        Notice(
            document.position_of(path, is_key=path[1] == name),
            f"there is no plugin {name!r}{did_you_mean(name, known)}",
        )
        for name, path in named
        if name not in known and path in document.places.keys
    ]


def wrong_options(document: Document, plugins: Plugins) -> list[Notice]:
    """Return what is wrong with plugins that cannot be configured, with the place of the option."""
    checker = Checker(document)
    return [
        Notice(
            document.position_of(checker.place_of(path, ("plugins", name))),
            f"plugin {name} {plugins.problems[name]}",
        )
        for name, path in plugins.wrong_options.items()
        if ("plugins", name) in document.places.keys
    ]
