"""What a benchmark's reader has to know about the machine and the programs that ran on it."""
import os
import platform
import subprocess


def first_line(command):
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else ""


def field(path, name, separator):
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(separator)
                if key.strip() == name:
                    return value.strip().strip('"')
    except OSError:
        pass
    return ""


def package_version(name):
    return first_line(["dpkg-query", "-W", "-f", "${Version}", name]) or "not Debian's"


def filesystem_of(path):
    return first_line(["findmnt", "-n", "-o", "FSTYPE", "-T", path]) or "unknown"


def describe(setting, scratch):
    """Pairs of what and which, in the order in which they are told. Names no host."""
    memory_kb = field("/proc/meminfo", "MemTotal", ":").split(" ")[0]
    pairs = [
        ("processor", field("/proc/cpuinfo", "model name", ":") or platform.machine()),
        ("cores", f"{os.cpu_count()}, shared by the server and the load generator"),
        ("memory", f"{int(memory_kb or 0) / (1 << 20):.0f} GiB"),
        ("system", field("/etc/os-release", "PRETTY_NAME", "=") or platform.system()),
        ("kernel", platform.release()),
        ("stores lie on", filesystem_of(scratch)),
        ("descriptors", f"{setting.descriptors} a process"),
        ("longpoll", first_line([setting.program("longpolld"), "--version"])),
        ("compiler", first_line(["cc", "--version"])),
    ]
    libraries = ["libh2o-evloop0.13", "libh2o0.13", "libuv1", "libsqlite3-0", "liblmdb0"]
    pairs.append(("libraries", ", ".join(f"{name} {package_version(name)}" for name in libraries)))
    if setting.nginx:
        pairs.append(
            (
                "nchan",
                f"libnginx-mod-nchan {package_version('libnginx-mod-nchan')} in nginx "
                f"{package_version('nginx')}, one worker",
            )
        )
    if setting.golongpoll:
        pairs.append(("golongpoll", golongpoll_version(setting.golongpoll)))
    return pairs


def golongpoll_version(program):
    """What Go has put into the program, where both are there."""
    if not os.path.exists(program):
        return "as its owner runs it"
    compiler = first_line(["go", "version", program]).rpartition(" ")[2]
    return f"as its owner has built it{', with ' + compiler if compiler else ''}"
