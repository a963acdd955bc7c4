"""``tunproxy exec``: what a command sees inside, what the outside sees of it, and how it ends.

The picture of the namespaces is in ``hostlab``. Most tests run twice, as root and as an ordinary user.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.hostlab import (
    HOST_IPV4,
    HOST_IPV6,
    ORDINARY_UID,
    TUNPROXY,
    WORLD_IPV4,
    WORLD_IPV6,
    HostLab,
    Terminal,
    hello_from,
    host_for_tests,
    read_line,
)

pytestmark = pytest.mark.timeout(60)

RESOLVER_IPV4, RESOLVER_IPV6 = "10.231.77.2", "fd7a:7475:6e70::2"
ROOT_MACHINE: dict[str, object] = {}
USER_MACHINE: dict[str, object] = {"uid": ORDINARY_UID}


lab = pytest.fixture(scope="module", name="lab")(host_for_tests)


@pytest.fixture(params=[ROOT_MACHINE, USER_MACHINE], ids=["root", "user"])
def machine(request: pytest.FixtureRequest) -> dict[str, object]:
    return dict(request.param)


def execute(lab: HostLab, machine: dict[str, object], *command: str, **how: object) -> tuple[int, str, str]:
    """Run a command by ``tunproxy exec``; return its exit code, standard output and standard error."""
    done = lab.run(*TUNPROXY, "exec", "--", *command, machine=machine, **how)  # type: ignore[arg-type]
    return done.returncode, done.stdout, done.stderr


# how it ends


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_exec_exit_code_is_the_commands(lab: HostLab, machine: dict[str, object], code: int) -> None:
    assert execute(lab, machine, "sh", "-c", f"exit {code}") == (code, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGSEGV])
def test_exec_command_dies_of_signal_and_so_do_we(
    lab: HostLab, machine: dict[str, object], number: signal.Signals
) -> None:
    assert execute(lab, machine, "sh", "-c", f"ulimit -c 0; kill -{int(number)} $$") == (-number, "", "")


def test_exec_command_not_found_is_127(lab: HostLab, machine: dict[str, object]) -> None:
    code, _, err = execute(lab, machine, "no-such-command")
    assert (code, err) == (127, "tunproxy: cannot run 'no-such-command': no such command\n")


def test_exec_command_not_executable_is_126(lab: HostLab, machine: dict[str, object]) -> None:
    code, _, err = execute(lab, machine, "/etc/passwd")
    assert (code, err) == (126, "tunproxy: cannot run '/etc/passwd': permission denied\n")


def test_exec_script_without_interpreter_line_is_run_by_the_shell(lab: HostLab, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1"; exit 3\n')
    script.chmod(0o755)
    assert execute(lab, ROOT_MACHINE, str(script), "one two") == (3, "one two\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_exec_signal_to_us_without_terminal_reaches_command(lab: HostLab, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    process = lab.start(
        *TUNPROXY, "exec", "--", "sh", "-c", f"trap 'exit 9' {name}; echo up; sleep 30 & wait"
    )
    assert process.stdout is not None
    assert read_line(process.stdout) == "up\n"
    process.send_signal(number)
    assert process.wait(20) == 9


# what it is given


def test_exec_arguments_directory_environment_and_input_arrive(
    lab: HostLab, machine: dict[str, object]
) -> None:
    program = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['GIVEN'], sys.stdin.read())"
    given = execute(
        lab,
        machine,
        sys.executable,
        "-c",
        program,
        "a b",
        "--mtu",
        "",
        cwd="/usr",
        env={"GIVEN": "a word"},
        stdin="in",
    )
    assert given == (0, "['a b', '--mtu', ''] /usr a word in\n", "")


def test_exec_user_and_group_stay(lab: HostLab, machine: dict[str, object]) -> None:
    code, out, _ = execute(lab, machine, "sh", "-c", "id -u; id -g")
    assert (code, out.split()) == (0, [str(machine.get("uid", 0))] * 2)


def test_exec_ordinary_user_has_no_capabilities_inside(lab: HostLab) -> None:
    _, out, _ = execute(lab, USER_MACHINE, "grep", "-E", "Cap(Prm|Eff|Amb)", "/proc/self/status")
    assert {line.split()[1] for line in out.splitlines()} == {"0" * 16}


def test_exec_signals_are_as_programs_expect_them(lab: HostLab) -> None:
    _, out, _ = execute(lab, ROOT_MACHINE, "grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")
    c_library_s_own = 0b11 << 31  # signals 32 and 33: some starters of tests leave them blocked
    assert {int(line.split()[1], 16) & ~c_library_s_own for line in out.splitlines()} == {0}


def test_exec_no_descriptors_of_ours_are_inherited(lab: HostLab) -> None:
    _, out, _ = execute(lab, ROOT_MACHINE, "sh", "-c", "ls -l /proc/$$/fd")
    assert "tun" not in out
    assert "socket:" not in out


# its network


def test_exec_network_has_loopback_and_tun_for_both_families(
    lab: HostLab, machine: dict[str, object]
) -> None:
    _, out, err = execute(lab, machine, "sh", "-c", "ip -br addr; ip route; ip -6 route")
    assert err == ""
    assert "127.0.0.1/8" in out
    assert "10.231.77.1/30 fd7a:7475:6e70::1/126" in out
    assert out.count("default dev tunproxy0") == 2


def test_exec_options_set_name_and_mtu_of_tun(lab: HostLab) -> None:
    done = lab.run(*TUNPROXY, "exec", "--tun", "my-tun", "--mtu", "9000", "--", "ip", "-o", "link")
    assert "my-tun: " in done.stdout
    assert "mtu 9000 " in done.stdout


def test_exec_ping_sockets_are_allowed(lab: HostLab, machine: dict[str, object]) -> None:
    program = (
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); print('ok')"
    )
    assert execute(lab, machine, sys.executable, "-c", program) == (0, "ok\n", "")


def test_exec_outside_is_the_same_while_it_runs_and_after(lab: HostLab, machine: dict[str, object]) -> None:
    before, mounts = lab.configuration(), Path("/proc/self/mountinfo").read_text()
    process = lab.start(*TUNPROXY, "exec", "--", "sh", "-c", "echo up; sleep 30", machine=machine)
    assert process.stdout is not None
    assert read_line(process.stdout) == "up\n"
    assert lab.configuration() == before
    assert Path("/proc/self/mountinfo").read_text() == mounts
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    assert lab.configuration() == before


@pytest.mark.parametrize("victim", ["exec", "worker"])
def test_exec_killed_command_goes_on_without_network(
    lab: HostLab, machine: dict[str, object], victim: str
) -> None:
    tun = "/proc/sys/net/ipv4/conf/tunproxy0"
    # Where the command ends as well before the death is noticed, nobody has to be told of it: we let it end.
    program = (
        "trap 'exit 5' USR1; echo $PPID $$; "
        f"while [ -e {tun} ]; do sleep 0.1; done; ip route; echo end; while :; do sleep 0.1; done"
    )
    process = lab.start(*TUNPROXY, "exec", "--", "sh", "-c", program, machine=machine)
    assert process.stdout is not None
    assert process.stderr is not None
    pid, command = map(int, read_line(process.stdout).split())
    if victim == "worker":
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pid = next(
            int(child) for child in children if "\0tunproxy\0" in Path(f"/proc/{child}/cmdline").read_text()
        )
    os.kill(pid, signal.SIGKILL)
    assert read_line(process.stdout) == "end\n"
    line = "tunproxy: the worker died (killed by signal 9): sh goes on without a network\n"
    if victim == "worker":
        assert read_line(process.stderr) == line
    os.kill(command, signal.SIGUSR1)
    if victim == "worker":
        assert process.wait(20) == 5
        assert process.stderr.read() == ""


# its names


@pytest.mark.parametrize("kind", ["file", "link", "systemd", "dangling", "missing"])
def test_exec_resolv_conf_is_its_own(lab: HostLab, machine: dict[str, object], kind: str) -> None:
    settings = "# ours\nnameserver 9.9.9.9\nnameserver fd00::53\nsearch example.org\noptions edns0\n"
    machine |= {"resolver": kind, "settings": settings}
    code, out, err = execute(lab, machine, "cat", "/etc/resolv.conf")
    expected = f"nameserver {RESOLVER_IPV4}\n"
    if kind not in ("dangling", "missing"):
        expected += f"nameserver {RESOLVER_IPV6}\nsearch example.org\noptions edns0\n"
    assert (code, out, err) == (0, expected, "")


def test_exec_resolver_sockets_are_out_of_reach(lab: HostLab, machine: dict[str, object]) -> None:
    machine |= {"resolver": "systemd", "settings": "nameserver 127.0.0.53\n"}
    code, out, _ = execute(lab, machine, "ls", "/run/systemd/resolve")
    assert (code, out) == (0, "resolv.conf\nstub-resolv.conf\n")


def test_exec_queries_reach_the_hosts_resolver_on_its_loopback(
    lab: HostLab, machine: dict[str, object]
) -> None:
    machine |= {"resolver": "file", "settings": "nameserver 127.0.0.53\n"}
    program = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10);"
        f"s.sendto(b'who?', ('{RESOLVER_IPV4}', 53)); print(s.recv(100).decode())"
    )
    with lab.host.datagram("127.0.0.53", 53) as resolver:
        answering = threading.Thread(
            target=lambda: resolver.sendto(b"me", resolver.recvfrom(100)[1]), daemon=True
        )
        answering.start()
        assert execute(lab, machine, sys.executable, "-c", program) == (0, "me\n", "")


# where its packets get


@pytest.mark.parametrize("address", [WORLD_IPV4, WORLD_IPV6])
def test_exec_command_reaches_the_world_from_the_hosts_address(
    lab: HostLab, machine: dict[str, object], address: str
) -> None:
    with lab.greeter(lab.world, address) as (port, visitors):
        assert execute(lab, machine, *hello_from(address, port)) == (0, "hello\n", "")
    assert visitors == [HOST_IPV6 if ":" in address else HOST_IPV4]


@pytest.mark.needs("curl", "nginx")
@pytest.mark.parametrize("address", [WORLD_IPV4, WORLD_IPV6])
def test_exec_curl_fetches_a_page(lab: HostLab, machine: dict[str, object], address: str) -> None:
    literal = f"[{address}]" if ":" in address else address
    with lab.web_server(address, 8080):
        code, out, _ = execute(lab, machine, "curl", "-sS", "--max-time", "20", f"http://{literal}:8080/")
    assert (code, out) == (0, "hello from nginx\n")


def test_exec_command_that_ends_early_gets_its_last_octets_through(
    lab: HostLab, machine: dict[str, object]
) -> None:
    """The server reads slowly, and most of it when the command is gone."""
    size = 12_000_000
    program = f"import socket; socket.create_connection(('{WORLD_IPV4}', PORT)).sendall(bytes({size}))"
    with lab.world.listen(WORLD_IPV4) as listener:
        port = listener.getsockname()[1]
        command = lab.start(
            *TUNPROXY, "exec", "--", sys.executable, "-c", program.replace("PORT", str(port)), machine=machine
        )
        connection, _ = listener.accept()
        received = 0
        with connection:
            while data := connection.recv(1 << 16):
                received += len(data)
                time.sleep(0.001)
    assert received == size
    assert command.wait(20) == 0


def test_exec_hosts_loopback_is_out_of_reach(lab: HostLab, machine: dict[str, object]) -> None:
    with lab.greeter(lab.host, "127.0.0.1") as (port, visitors):
        for target in ("127.0.0.1", "::ffff:127.0.0.1", "10.231.77.1", RESOLVER_IPV4):
            _, out, _ = execute(lab, machine, *hello_from(target, port, timeout=2))
            assert out != "hello\n", target
    assert visitors == []


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("192.0.2.200", "127.0.0.1"), ("2001:db8:5::5", "::1"), (RESOLVER_IPV4, "127.0.0.1")],
)
def test_exec_host_address_stands_for_the_hosts_loopback(
    lab: HostLab, machine: dict[str, object], address: str, loopback: str
) -> None:
    with lab.greeter(lab.host, loopback) as (port, visitors):
        command = (*TUNPROXY, "exec", "--host-address", address, "--", *hello_from(address, port))
        assert lab.run(*command, machine=machine).stdout == "hello\n"
    assert visitors == [loopback]


def test_exec_inside_exec_reaches_the_world(lab: HostLab, machine: dict[str, object]) -> None:
    with lab.greeter(lab.world, WORLD_IPV4) as (port, _):
        inner = (*TUNPROXY, "exec", "--", *hello_from(WORLD_IPV4, port))
        assert execute(lab, machine, *inner) == (0, "hello\n", "")


# bad days


@pytest.mark.parametrize(
    ("differs", "complaint"),
    [
        ({"tun": "missing"}, "cannot open /dev/net/tun: the kernel has no TUN driver here"),
        ({"tun": "closed", "uid": ORDINARY_UID}, "cannot open /dev/net/tun: permission denied"),
        (
            {"user_namespaces": 0, "uid": ORDINARY_UID},
            "cannot make a user namespace: this host allows no more",
        ),
    ],
    ids=["no tun", "tun closed", "no user namespaces"],
)
def test_exec_host_refuses_says_so_in_one_line(
    lab: HostLab, differs: dict[str, object], complaint: str
) -> None:
    code, out, err = execute(lab, differs, "echo", "ran")
    assert (code, out) == (2, "")
    assert err.startswith(f"tunproxy: {complaint}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--mtu", "1279"], "cannot use mtu 1279: must be 1280 to 65535"),
        (["--bind-interface", "nix"], "cannot bind to interface 'nix': there is none"),
        (["--host-address", "127.0.0.1"], "cannot use '127.0.0.1' as host address"),
        (["--udp-timeout", "0"], "cannot use udp timeout 0"),
        (["--tun", "a/b"], "cannot use 'a/b' as a device name"),
        (["--mark", "1"], "cannot mark sockets with 0x1: not permitted"),
        (["--mark", "x"], "invalid value for '--mark': 'x' is not a number"),
        (["--nonsense"], "no such option: --nonsense"),
    ],
)
def test_exec_bad_option_says_so_in_one_line(lab: HostLab, options: list[str], complaint: str) -> None:
    done = lab.run(*TUNPROXY, "exec", *options, "--", "echo", "ran", machine=USER_MACHINE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tunproxy: {complaint}")
    assert done.stderr.count("\n") == 1


# its terminal

EXEC = " ".join((*TUNPROXY, "exec", "--"))
BUSY = "sh -c 'echo up''=$$; exec sleep 64'"  # says up=PID once it runs, not when it is typed
LINKS = "$(ls /proc/sys/net/ipv4/conf | grep -c tunproxy0)"  # 1 inside, 0 outside


@pytest.fixture
def terminal(lab: HostLab) -> Iterator[Terminal]:
    with Terminal(lab.host) as shell:
        yield shell


def test_terminal_shell_inside_has_job_control(terminal: Terminal) -> None:
    terminal.type(f"{EXEC} bash --norc --noprofile -i\n")
    assert terminal.value_of(LINKS) == "1"
    terminal.type(f"{BUSY}\n")
    terminal.expect("up=")
    terminal.press("z")
    terminal.expect(r"\[1\]\+ +Stopped")
    assert terminal.value_of("$(jobs | wc -l)") == "1"
    terminal.bring_job_back()
    terminal.press("c")
    assert terminal.value_of("$?") == "130"
    assert terminal.value_of(LINKS) == "1"
    terminal.type("exit 42\n")
    assert terminal.value_of(f"$?-{LINKS}") == "42-0"


def test_terminal_shell_inside_is_suspended_and_resumed(terminal: Terminal) -> None:
    terminal.type(f"{EXEC} bash --norc --noprofile -i\n")
    assert terminal.value_of(LINKS) == "1"
    terminal.type("suspend -f\n")
    terminal.expect(r"\[1\]\+ +Stopped")
    assert terminal.value_of(LINKS) == "0"
    terminal.bring_job_back()
    assert terminal.value_of(LINKS) == "1"


def test_terminal_command_is_stopped_put_into_background_and_interrupted(terminal: Terminal) -> None:
    terminal.type(f"{EXEC} {BUSY}\n")
    pid = terminal.expect(r"up=(\d+)")[1]
    terminal.press("z")
    terminal.expect(r"\[1\]\+ +Stopped")
    assert terminal.value_of(f"$(ps -o stat= -p {pid} | head -c1)") == "T"
    terminal.type("bg\n")
    sleeps = f"ps -o stat= -p {pid} | grep -q ^S"
    assert terminal.value_of(f"$(until {sleeps}; do sleep 0.1; done; echo it sleeps)") == "it sleeps"
    terminal.bring_job_back()
    terminal.press("c")
    assert terminal.value_of("$?") == "130"


def test_terminal_interrupt_is_the_commands_to_handle(terminal: Terminal) -> None:
    terminal.type(f"""{EXEC} sh -c 'trap "exit 9" INT; echo u''p; while :; do sleep 0.1; done'\n""")
    terminal.expect("up")
    terminal.press("c")
    assert terminal.value_of("$?") == "9"


def test_terminal_comes_back_from_a_killed_shell(terminal: Terminal) -> None:
    terminal.type(f"{EXEC} bash --norc --noprofile -i\n")
    assert terminal.value_of(LINKS) == "1"
    terminal.type("kill -9 $$\n")
    assert terminal.value_of("$?") == "137"


def test_terminal_size_is_the_terminals(terminal: Terminal) -> None:
    terminal.type("stty rows 33 cols 99\n")
    terminal.type(f"{EXEC} stty size\n")
    terminal.expect(r"33 99\r\n")


def test_terminal_pipeline_is_one_job(terminal: Terminal) -> None:
    terminal.type(f"{EXEC} {BUSY} | cat\n")
    terminal.expect("up=")
    terminal.press("z")
    terminal.expect(r"\[1\]\+ +Stopped")
    terminal.bring_job_back()
    terminal.press("c")
    assert terminal.value_of("$?") == "130"
