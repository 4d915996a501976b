"""The servers that are measured: how each is started, found and ended. Each runs for one round of a
step, in a directory of its own, so that none carries memory or events from one into the next."""
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

START_S = 20  # for a server to answer
END_S = 20
RUNS_ALREADY = re.compile(r"(\d+),(\d+)")  # a port and a process


class Trouble(Exception):
    """A sentence for whoever runs this."""


def raise_descriptor_limit():
    """To what the machine allows: servers and the load generator inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Ports:
    """Ports one behind the other: a run uses the same ones again and again."""

    def __init__(self, first):
        self.first = first
        self.next = first

    def restart(self):
        self.next = self.first

    def take(self):
        for port in range(self.next, self.first + 100):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            self.next = port + 1
            return port
        raise Trouble(
            f"ports {self.first} to {self.first + 99}: all are in use (give other ones "
            "with --ports)"
        )


class Running:
    """A server that answers. `pid` is the process that does the work."""

    def __init__(self, name, kind, port, pid, process=None, folder=None):
        self.name = name
        self.kind = kind
        self.port = port
        self.pid = pid
        self.process = process
        self.folder = folder

    def argument(self):
        return f"{self.name}={self.kind}=http://127.0.0.1:{self.port},pid={self.pid}"

    def end(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def wait_until_listening(process, port, what, log):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)  # between two looks; the connection is what is waited for
    said = ""
    if os.path.exists(log):
        with open(log, encoding="utf-8", errors="replace") as file:
            said = file.read().strip()
    process.kill()
    process.wait()
    raise Trouble(f"{what}: does not answer on port {port}: {said or 'it said nothing'}")


def start(name, kind, port, command, folder, cwd=None):
    """`command` as it is; what it says goes into a file of its folder."""
    log = os.path.join(folder, "said")
    with open(log, "w", encoding="utf-8") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, stdin=subprocess.DEVNULL, cwd=cwd
        )
    wait_until_listening(process, port, name, log)
    return Running(name, kind, port, process.pid, process, folder)


class Longpolld:
    """longpolld, with options of its own; DIR in them is a fresh directory."""

    kind = "longpoll"

    def __init__(self, name, *options, program="longpolld"):
        self.name = name
        self.options = options
        self.program = program

    def start(self, setting):
        folder = tempfile.mkdtemp(prefix="longpoll-peers-", dir=setting.scratch)
        port = setting.ports.take()
        options = [option.replace("DIR", folder) for option in self.options]
        command = [
            setting.program(self.program),
            "--listen",
            f"127.0.0.1:{port}",
            "--event-buffer",
            str(setting.event_buffer),
        ] + options
        return start(self.name, self.kind, port, command, folder)


class Reference:
    """What the others are measured against: a program of ours that does nearly nothing. PORT and
    BUFFER in its words are what they say."""

    def __init__(self, name, kind, *words):
        self.name = name
        self.kind = kind
        self.words = words

    def start(self, setting):
        program = setting.program(self.words[0])
        if not os.access(program, os.X_OK):
            return None
        folder = tempfile.mkdtemp(prefix="longpoll-peers-", dir=setting.scratch)
        port = setting.ports.take()
        command = [program] + [
            word.replace("PORT", str(port)).replace("BUFFER", str(setting.event_buffer))
            for word in self.words[1:]
        ]
        return start(self.name, self.kind, port, command, folder)


class Golongpoll:
    """A server that its owner has built: a program, which is started, or one that runs already."""

    name = kind = "golongpoll"

    def start(self, setting):
        given = setting.golongpoll
        if not given:
            return None
        match = RUNS_ALREADY.fullmatch(given)
        if match:
            return Running(self.name, self.kind, int(match[1]), int(match[2]))
        folder = tempfile.mkdtemp(prefix="longpoll-peers-", dir=setting.scratch)
        port = setting.ports.take()
        command = [given, f"127.0.0.1:{port}", str(setting.event_buffer)]
        return start(self.name, self.kind, port, command, folder)


NCHAN_CONF = """\
# One worker, everything in memory: nchan as its README sets it up, and nothing that slows it down.
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {folder}/pid;
error_log {folder}/error crit;
load_module {module};
{user}
events {{
    worker_connections {descriptors};
}}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    nchan_shared_memory_size 1024M;
    nchan_message_buffer_length {event_buffer};
    nchan_message_timeout 1h;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        # published to
        location = /pub {{
            nchan_publisher;
            nchan_channel_id $arg_id;
        }}
        # waits for what comes behind the cursor, or from now on; one message an answer
        location = /sub {{
            nchan_subscriber longpoll eventsource;
            nchan_channel_id $arg_id;
            nchan_subscriber_first_message newest;
        }}
        # all that is buffered behind the cursor in one answer
        location = /multi {{
            nchan_subscriber longpoll;
            nchan_channel_id $arg_id;
            nchan_longpoll_multipart_response on;
            nchan_subscriber_first_message oldest;
        }}
    }}
}}
"""
NCHAN_MODULES = ["/usr/lib/nginx/modules/ngx_nchan_module.so"]


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


class Nchan:
    name = kind = "nchan"

    def start(self, setting):
        if not setting.nginx:
            return None
        folder = tempfile.mkdtemp(prefix="longpoll-peers-", dir=setting.scratch)
        port = setting.ports.take()
        conf = NCHAN_CONF.format(
            folder=folder,
            port=port,
            module=NCHAN_MODULES[0],
            event_buffer=setting.event_buffer,
            descriptors=setting.descriptors,
            user="user root;" if os.geteuid() == 0 else "",
        )
        with open(os.path.join(folder, "conf"), "w", encoding="utf-8") as file:
            file.write(conf)
        command = [setting.nginx, "-p", folder, "-c", os.path.join(folder, "conf")]
        running = start(self.name, self.kind, port, command, folder)
        deadline = time.monotonic() + START_S
        while not (workers := children_of(running.pid)):
            if time.monotonic() > deadline:
                running.end()
                raise Trouble("nchan: nginx has no worker process")
        running.pid = workers[0]
        return running


class Setting:
    """What all steps of a run have in common; `event_buffer` is the step's."""

    def __init__(self, build, ports, scratch, golongpoll, nginx):
        self.build = build
        self.ports = Ports(ports)
        self.scratch = scratch
        self.golongpoll = golongpoll
        self.nginx = nginx
        self.descriptors = raise_descriptor_limit()
        self.event_buffer = 250

    def program(self, name):
        return os.path.join(self.build, "bin", name)


def start_all(servers, setting):
    """Those that are there; ended again when one of them fails."""
    running = []
    setting.ports.restart()
    try:
        for server in servers:
            one = server.start(setting)
            if one:
                running.append(one)
    except BaseException:
        end_all(running)
        raise
    return running


def end_all(running):
    for one in running:
        one.end()


# ---- nchan from Debian's packages -------------------------------------------

NCHAN_PACKAGES = ["nginx", "libnginx-mod-nchan"]
NO_SERVICES = "/usr/sbin/policy-rc.d"  # what asks whether a package may start its service


def find_nginx():
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    return nginx if nginx and os.path.exists(NCHAN_MODULES[0]) else None


def install_nchan():
    """Installs what is missing, without starting nginx's own service. Returns the program."""
    if find_nginx():
        return find_nginx()
    remedy = f"install {' and '.join(NCHAN_PACKAGES)}, or leave it out: --without nchan"
    if not shutil.which("apt-get"):
        raise Trouble(f"nchan: this is no Debian ({remedy})")
    if os.geteuid() != 0:
        raise Trouble(f"nchan: is not installed, and installing takes root ({remedy})")
    print("nchan: installing", *NCHAN_PACKAGES, flush=True)
    guarded = not os.path.exists(NO_SERVICES)
    if guarded:
        with open(NO_SERVICES, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 101\n")
        os.chmod(NO_SERVICES, 0o755)
    install = ["apt-get", "-y", "-q", "--no-install-recommends", "install"] + NCHAN_PACKAGES
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    try:
        for command in [install, ["apt-get", "-q", "update"], install]:
            done = subprocess.run(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if find_nginx():
                return find_nginx()
    finally:
        if guarded:
            os.remove(NO_SERVICES)
    raise Trouble(f"nchan: could not be installed ({remedy}): {done.stdout.strip()[-500:]}")


def stop_on_signals():
    """A run that is interrupted ends its servers like one that fails."""

    def stop(number, _frame):
        raise KeyboardInterrupt(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
