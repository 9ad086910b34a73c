# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command and option of tart, and the versions that have it: written down apart from the simulator's own table.

Source: tart contract 9.3 and its matrix. Columns: command, option, kind of value, since, removed in. 2.36.0 stands for what came after
the last tag that was read.
"""

from __future__ import annotations

COMMANDS = {
    "clone": "0.1.0", "create": "0.1.0", "delete": "0.1.0", "exec": "2.27.0", "export": "0.37.0", "fqn": "2.6.0", "get": "0.34.0",
    "import": "0.37.0", "ip": "0.1.0", "list": "0.1.0", "login": "0.2.0", "logout": "1.10.0", "prune": "0.20.0", "pull": "0.2.0",
    "push": "0.2.0", "rename": "0.28.0", "run": "0.1.0", "set": "0.1.0", "stop": "0.34.0", "suspend": "1.8.0",
}
_TABLE = """
clone --insecure flag 0.20.0 -
clone --concurrency uint 2.0.0 -
clone --deduplicate flag 2.19.0 -
clone --prune-limit uint 2.28.5 -
clone --stacked flag 2.36.0 -
create --disk-size uint16 0.1.0 -
create --from-ipsw string 0.1.0 -
create --linux flag 0.22.0 -
create --disk-format asif 2.28.0 -
exec -i flag 2.27.0 -
exec -t flag 2.27.0 -
get --cpu flag 0.36.0 0.37.0
get --disk-size flag 0.36.0 0.37.0
get --display flag 0.36.0 0.37.0
get --memory flag 0.36.0 0.37.0
get --format json 0.37.0 -
ip --wait uint16 0.2.0 -
ip --resolver arp 1.1.0 -
list --quiet flag 0.33.0 -
list --source string 0.36.0 -
list --format json 0.37.0 -
login --password-stdin flag 0.12.0 -
login --username string 0.12.0 -
login --insecure flag 0.19.0 -
login --no-validate flag 1.10.0 -
prune --cache-budget uint 0.20.0 -
prune --older-than uint 0.20.0 -
prune --gc flag 0.21.0 -
prune --entries string 1.9.2 -
prune --space-budget uint 1.9.2 -
pull --insecure flag 0.20.0 -
pull --concurrency uint 2.0.0 -
pull --deduplicate flag 2.19.0 -
push --populate-cache flag 0.7.0 -
push --chunk-size int 0.18.0 -
push --insecure flag 0.19.0 -
push --disk-format string 2.0.0 2.32.0
push --concurrency uint 2.15.0 -
push --label string 2.25.0 -
run --no-graphics flag 0.1.0 -
run --recovery flag 0.5.0 -
run --vnc flag 0.6.0 -
run --with-softnet flag 0.10.0 0.37.1
run --vnc-experimental flag 0.15.0 -
run --disk string 0.16.0 -
run --dir string 0.24.0 -
run --net-bridged string 0.28.0 -
run --graphics flag 0.29.0 -
run --net-softnet flag 0.31.0 -
run --rosetta string 0.35.0 -
run --serial flag 1.1.0 -
run --serial-path string 1.1.0 -
run --suspendable flag 1.8.0 -
run --capture-system-keys flag 2.3.0 -
run --no-audio flag 2.6.0 -
run --net-host flag 2.7.0 -
run --net-softnet-allow string 2.7.1 -
run --no-clipboard flag 2.10.0 -
run --root-disk-opts string 2.16.0 -
run --nested flag 2.20.0 -
run --net-softnet-expose string 2.23.0 -
run --no-trackpad flag 2.25.0 -
run --no-keyboard flag 2.29.0 -
run --no-pointer flag 2.29.0 -
run --net-softnet-block string 2.30.0 -
run --provisioning-opts string 2.33.0 -
run --net-softnet-control-fd int32 2.34.0 -
set --cpu uint16 0.1.0 -
set --disk-size uint16 0.1.0 -
set --display 800x600 0.1.0 -
set --memory uint64 0.1.0 -
set --random-mac flag 2.10.0 -
set --random-serial flag 2.10.0 -
set --disk string 2.13.0 -
set --display-refit flag 2.21.0 -
stop --timeout uint64 0.34.0 -
"""
OPTIONS = [tuple(line.split()) for line in _TABLE.strip().splitlines()]
_VALUES = {"string": "text", "uint": "7", "uint16": "7", "uint64": "7", "int": "7", "int32": "7"}


def words(option: str, kind: str) -> list[str]:
    """The option with a value that it takes."""
    return [option] if kind == "flag" else [option, _VALUES.get(kind, kind)]
