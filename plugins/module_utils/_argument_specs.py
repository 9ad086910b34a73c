# Copyright: cocoonstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PRIVATE to the collection: can change at any time.
"""The modules' options.  Made by script/generate from their documentation: change that, not this."""

from __future__ import annotations


COCOON_IMAGE = {
    "backend": {"type": "str", "choices": ["auto", "tart", "cloud-hypervisor"], "default": "auto"},
    "binary": {"type": "str"},
    "insecure": {"type": "bool", "default": False},
    "name": {"type": "str", "required": True},
    "root_dir": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "latest", "absent"], "default": "present"},
}


COCOON_IMAGE_INFO = {
    "backend": {"type": "str", "choices": ["auto", "tart", "cloud-hypervisor"], "default": "auto"},
    "binary": {"type": "str"},
    "name": {"type": "str"},
    "root_dir": {"type": "path"},
}


COCOON_NET = {
    "backend": {"type": "str", "choices": ["auto", "tart", "cloud-hypervisor"], "default": "auto"},
    "binary": {"type": "str"},
    "dns": {"type": "list", "elements": "str"},
    "gateway": {"type": "str"},
    "interface": {"type": "str"},
    "mode": {"type": "str", "choices": ["shared", "bridged", "softnet", "host"]},
    "mtu": {"type": "int"},
    "name": {"type": "str", "required": True},
    "root_dir": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "subnet": {"type": "str"},
}


COCOON_NET_INFO = {
    "backend": {"type": "str", "choices": ["auto", "tart", "cloud-hypervisor"], "default": "auto"},
    "binary": {"type": "str"},
    "name": {"type": "str"},
    "root_dir": {"type": "path"},
}


COCOON_VM = {
    "adopt": {"type": "bool", "default": False},
    "backend": {"type": "str", "choices": ["auto", "tart", "cloud-hypervisor"], "default": "auto"},
    "binary": {"type": "str"},
    "cpus": {"type": "int"},
    "disk_size": {"type": "str"},
    "force": {"type": "bool", "default": False},
    "hostname": {"type": "str"},
    "image": {"type": "str"},
    "labels": {"type": "dict"},
    "memory": {"type": "str"},
    "name": {"type": "str"},
    "networks": {
        "type": "list", "elements": "dict",
        "options": {
            "ip_address": {"type": "str"},
            "mac_address": {"type": "str"},
            "name": {"type": "str", "required": True},
        },
    },
    "parallel": {"type": "int", "default": 8},
    "recreate": {"type": "str", "choices": ["never", "if_needed"], "default": "never"},
    "restart": {"type": "str", "choices": ["never", "if_needed"], "default": "never"},
    "root_dir": {"type": "path"},
    "ssh_authorized_keys": {"type": "list", "elements": "str", "no_log": False},
    "state": {"type": "str", "choices": ["present", "started", "stopped", "restarted", "absent"], "default": "present"},
    "stop_timeout": {"type": "float", "default": 30},
    "user_data": {"type": "str", "no_log": True},
    "vms": {
        "type": "list", "elements": "dict",
        "options": {
            "adopt": {"type": "bool"},
            "cpus": {"type": "int"},
            "disk_size": {"type": "str"},
            "force": {"type": "bool"},
            "hostname": {"type": "str"},
            "image": {"type": "str"},
            "labels": {"type": "dict"},
            "memory": {"type": "str"},
            "name": {"type": "str", "required": True},
            "networks": {
                "type": "list", "elements": "dict",
                "options": {
                    "ip_address": {"type": "str"},
                    "mac_address": {"type": "str"},
                    "name": {"type": "str", "required": True},
                },
            },
            "recreate": {"type": "str", "choices": ["never", "if_needed"]},
            "restart": {"type": "str", "choices": ["never", "if_needed"]},
            "ssh_authorized_keys": {"type": "list", "elements": "str", "no_log": False},
            "state": {"type": "str", "choices": ["present", "started", "stopped", "restarted", "absent"]},
            "stop_timeout": {"type": "float"},
            "user_data": {"type": "str", "no_log": True},
            "wait_for": {"type": "str", "choices": ["none", "process", "ip", "ssh"]},
            "wait_timeout": {"type": "float"},
        },
    },
    "wait_for": {"type": "str", "choices": ["none", "process", "ip", "ssh"], "default": "process"},
    "wait_timeout": {"type": "float", "default": 120},
}


COCOON_VM_INFO = {
    "backend": {"type": "str", "choices": ["auto", "tart", "cloud-hypervisor"], "default": "auto"},
    "binary": {"type": "str"},
    "name": {"type": "str"},
    "names": {"type": "list", "elements": "str"},
    "root_dir": {"type": "path"},
}
