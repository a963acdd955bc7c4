"""The command ``tunproxy ui``."""

import typer

from tunproxy.cli import options


def show_dashboard(tun: options.WhichUp = "", socket: options.WhichSocket = "") -> int:
    """Print the dashboard's address, for a browser.

    It is that of a running tunproxy up, and has the secret in it: whoever knows that can end flows and switch
    groups. Exit code 3 means that none is running.
    """
    from tunproxy.control.client import choose, fetch_dashboard

    options.check_which(tun, socket)
    typer.echo(fetch_dashboard(choose(tun, socket, serves_host=True).path))
    return 0
