"""Two hosts on one folder, killed at random: a process for each, under a name of its own. Prints what came of it.

Usage: two_hosts.py folder kills. Notebooks are made by `test_sweep.Kernel`; ENTR_LEASE asks for leases.
"""

import json
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "ENTR_CLOCK": "off"}

import conftest
import psutil
import test_sweep
import torchvision

from entr_utils import cli, machine, sweep
from entr_utils.results import record

REGIMES = ("no_increase", "gradual", "stepwise", "small", "reversed")
WORDS = ("PROFILE=tiny", "DATASETS=steel bees", f"REGIMES={' '.join(REGIMES)}", "SEEDS=0 1")


def log(line: str) -> None:
    with open("log", "a") as file:  # a line at once, whoever else writes
        file.write(line + "\n")


class Kernel(test_sweep.Kernel):
    """Takes some time, and notes what it begins beside another that lives, and what it has made."""

    def __call__(self, notebook, parameters, output, *rest):
        busy = Path(f"{output.name}.busy")
        other = busy.read_text() if busy.exists() else ""  # also of one that was killed before it wrote its number
        if other and psutil.pid_exists(int(other)):
            log(f"twice at once: {output.name}, {other} lives")
        busy.write_text(str(os.getpid()))
        time.sleep(random.uniform(0.2, 0.7))
        super().__call__(notebook, parameters, output, *rest)
        busy.unlink()


def write(made: record.Record, path: Path) -> None:
    time.sleep(random.uniform(0, 0.05))
    already = path.exists()
    whole(made, path)
    log(f"made {path.name}" + " twice" * already)


def start(host: str) -> int:
    """A process that makes what is missing, under the name of a host."""
    if pid := os.fork():
        return pid
    random.seed()
    socket.gethostname = lambda: host
    os._exit(cli.guarded(cli.command, ["all", *WORDS]))


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    whole, record.write, sweep.execute = record.write, write, Kernel()
    torchvision.models.get_model, machine.git = conftest.an_eighth_of_resnet, lambda *words: ""
    sweep.asked(cli.matrix(cli.read(WORDS, cli.MATRIX)))  # draws
    hosts, codes, kills = {start(host): host for host in ("one", "two")}, [], 0
    while hosts:
        if more := kills < int(sys.argv[2]):
            time.sleep(random.uniform(0.1, 0.4))
            os.kill(pid := random.choice([*hosts]), signal.SIGKILL)
            kills += 1
        pid, status = os.waitpid(pid if more else -1, 0)
        host = hosts.pop(pid)
        if more or os.WIFSIGNALED(status):
            hosts[start(host)] = host
        else:
            codes.append(os.WEXITSTATUS(status))
    Path("result.json").write_text(json.dumps({"kills": kills, "codes": codes}))
