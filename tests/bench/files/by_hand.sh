# shellcheck shell=bash
# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# By hand what cocoon_vm does to make and to start VMs: by_hand.sh start|make|remove NAME..., side by side. Beside this file
# are NAME.argv with the program's command line, NAME.template of one that is not made yet, and the network's CNI configuration.
set -euo pipefail
folder=$(dirname "$0")
vms=/var/lib/cocoon/vms

start() {
    local name=$1 argv stat pid
    mapfile -t argv <"$folder/$name.argv"
    printf 'link set eth0 up\nlink set tap0 up\n' | ip -n "cocoon-$name" -batch -
    rm -f "$vms/$name/api.sock"
    setsid ip netns exec "cocoon-$name" "${argv[@]}" </dev/null >>"$vms/$name/vm.log" 2>&1 &
    pid=$!
    read -r -a stat <"/proc/$pid/stat"
    printf '%s\n' "$pid" "${stat[21]}" "$(</proc/sys/kernel/random/boot_id)" >"$vms/$name/pid"
    until [ -S "$vms/$name/api.sock" ] \
        && [[ $(curl -s --unix-socket "$vms/$name/api.sock" http://localhost/api/v1/vm.info) == *'"state":"Running"'* ]]; do
        kill -0 "$pid"
        sleep 0.005
    done
}

cni() { # COMMAND NAME
    CNI_COMMAND=$1 CNI_CONTAINERID=cocoon-$2 CNI_NETNS=/run/netns/cocoon-$2 CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni \
        /usr/lib/cni/bridge <"$folder/network.json"
}

wire() {
    ip -n "cocoon-$1" -batch - <<'LINES'
link set lo up
address flush dev eth0
tuntap add dev tap0 mode tap vnet_hdr
link set tap0 txqueuelen 10000 mtu 1500
link set eth0 down
LINES
    tc -n "cocoon-$1" -batch - <<'LINES'
qdisc add dev eth0 ingress
filter add dev eth0 parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev tap0
qdisc add dev tap0 ingress
filter add dev tap0 parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev eth0
LINES
}

create() {
    local name=$1 result mac address
    mkdir -p "$vms/$name"
    truncate -s 64M "$vms/$name/cow.raw"
    mkfs.ext4 -q -F -m 0 -E lazy_itable_init=1,lazy_journal_init=1,discard "$vms/$name/cow.raw"
    ip netns add "cocoon-$name"
    result=$(cni ADD "$name")
    [[ $result =~ .*\"mac\":\ *\"([0-9a-f:]+)\" ]] && mac=${BASH_REMATCH[1]}
    [[ $result =~ \"address\":\ *\"([0-9.]+)/ ]] && address=${BASH_REMATCH[1]}
    wire "$name"
    sed -e "s/@mac@/$mac/" -e "s/@address@/$address/" "$folder/$name.template" >"$folder/$name.argv"
}

make() {
    create "$1"
    start "$1"
}

remove() {
    kill -KILL "$(head -n 1 "$vms/$1/pid")"
    cni DEL "$1"
    ip netns delete "cocoon-$1"
    rm -r "${vms:?}/$1"
}

action=$1
shift
if [ $# = 1 ]; then
    "$action" "$1"
else
    for name; do "$action" "$name" & done
    wait
fi
