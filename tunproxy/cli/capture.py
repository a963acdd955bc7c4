"""The command ``tunproxy capture``: packets of chosen flows, in a file for Wireshark."""

import contextlib
import os
import signal
import stat
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from tunproxy.cli import options
from tunproxy.errors import ConfigError

if TYPE_CHECKING:
    from tunproxy.control.packets.receiving import Receiving

STDOUT: Final = "-"
STDOUT_FD: Final = 1


def capture_packets(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILTER]...",
            help="Which flows: host:shop.example port:443 process:curl user:alice rule:… upstream:… flow:12 "
            "10.0.0.0/8 tcp, !… for all but those; without any, every packet.",
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write, pcapng; - is standard output."),
    ] = "",
    snaplen: Annotated[
        int,
        typer.Option(
            "--snaplen",
            metavar="N",
            parser=options.number,
            show_default=False,
            help="Octets of each packet; default: all.",
        ),
    ] = 0,
    count: Annotated[
        int,
        typer.Option(
            "--count",
            "-c",
            metavar="N",
            parser=options.number,
            show_default=False,
            help="End after so many packets.",
        ),
    ] = 0,
    duration: Annotated[
        float,
        typer.Option(
            "--duration",
            metavar="SECONDS",
            parser=options.seconds,
            show_default=False,
            help="End after so long.",
        ),
    ] = 0.0,
    file_size: Annotated[
        int,
        typer.Option(
            "--size",
            metavar="SIZE",
            parser=options.size,
            show_default=False,
            help="End when the file has that size: 100M.",
        ),
    ] = 0,
    tun: options.WhichTun = "",
    socket: options.WhichSocket = "",
) -> int:
    """Write packets of chosen flows for Wireshark.

    As they pass the TUN device, both ways, until Ctrl-C. Beside the first packet of each flow stands its
    process, and where it goes by which rule. Live: tunproxy capture -o - | wireshark -k -i -
    """
    from tunproxy.control.client import choose
    from tunproxy.control.flow_filter import parse_filter
    from tunproxy.control.packets.receiving import Receiving

    if not output:
        raise typer.BadParameter("say where to write: -o FILE.pcapng, or -o - for standard output")
    options.check_which(tun, socket)
    wish = {"filter": parse_filter(" ".join(words or ())).text}
    bounds = {"snaplen": snaplen, "count": count, "seconds": duration, "size": file_size}
    wish |= {key: str(bound) for key, bound in bounds.items() if bound}
    path = choose(tun, socket).path
    with _opened(output) as file:
        receiving = Receiving(path, wish)
        with contextlib.closing(receiving), _ending(receiving):
            _tell(f"capturing at {path.stem}, {wish['filter'] or 'everything'} (Ctrl-C ends it)")
            _empty(file)  # not before: what was in it stays where nothing can be captured
            written = _write(receiving, file, output)
    _tell(_summary(receiving, output, written))
    return 0


@contextlib.contextmanager
def _opened(output: str) -> Iterator[BinaryIO]:
    """Yield the file, unbuffered: Wireshark reads along. Nobody else may read it, it has people's words."""
    if output == STDOUT:
        if os.isatty(STDOUT_FD):
            raise ConfigError("a capture on the terminal is of no use (-o FILE, or pipe it into a program)")
        with open(STDOUT_FD, "wb", buffering=0, closefd=False) as file:
            yield file
        return
    is_new = not os.path.lexists(output)
    try:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {(error.strerror or str(error)).lower()}") from error
    with open(fd, "wb", buffering=0) as file:
        try:
            yield file
        except BaseException:
            if is_new and not os.fstat(fd).st_size:  # nothing could be captured: as if we had not been there
                with contextlib.suppress(OSError):
                    os.unlink(output)
            raise


def _empty(file: BinaryIO) -> None:
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.fileno() != STDOUT_FD:
        os.ftruncate(file.fileno(), 0)


@contextlib.contextmanager
def _ending(receiving: "Receiving") -> Iterator[None]:
    """Have SIGINT and SIGTERM end the capture, within; a second one ends us."""

    def handle(number: int, frame: FrameType | None) -> None:
        for each, before in old.items():
            signal.signal(each, before)
        receiving.end()

    old = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, before in old.items():
            signal.signal(each, before)


def _write(receiving: "Receiving", file: BinaryIO, output: str) -> bool:
    """Write the capture; return whether it has been taken to its end. Raises ConfigError.

    A full disk leaves whole packets in a file.
    """
    written = 0
    for blocks in receiving.blocks():
        rest = memoryview(blocks)
        while rest:
            try:
                rest = rest[file.write(rest) :]
            except BrokenPipeError:
                return False
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                if output != STDOUT and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    os.ftruncate(file.fileno(), written)
                raise ConfigError(
                    f"cannot write {output}: {why} ({receiving.packets} packets came)"
                ) from error
        written += len(blocks)
    return True


def _summary(receiving: "Receiving", output: str, is_written: bool) -> str:
    from tunproxy.cli.status_text import counted

    where = "standard output" if output == STDOUT else output
    said = f"{counted(receiving.packets, 'packet')}, {receiving.octets:,} octets in {where}"
    if not is_written:
        return f"{said}; its reader has gone"
    if not receiving.is_whole:
        return f"{said}; tunproxy has ended"
    if receiving.lost:
        why = "they were not taken fast enough (choose fewer flows, or --snaplen 128)"
        return f"{said}; {receiving.lost:,} packets were lost: {why}"
    return f"{said}; none was lost"


def _tell(line: str) -> None:
    typer.echo(f"tunproxy: {line}", err=True)
