-- Runs once per boot, before the SSH server: names, accounts, network.
local util = require "util"
local net = require "net"
local nocloud = require "nocloud"

local function disk_links()
  -- what udev makes for disks with a serial; mounts rows of cloud-init data use these names
  local script = {}
  for _, name in ipairs(util.block_devices()) do
    local serial = (util.read("/sys/block/" .. name .. "/serial") or ""):gsub("[%s%z]+$", "")
    if serial ~= "" and not serial:find("^cocoon%-layer") and not serial:find("/", 1, true) then
      script[#script + 1] = string.format("ln -sf ../../%s /dev/disk/by-id/virtio-%s", name, util.quote(serial))
    end
  end
  if #script > 0 then util.sh("mkdir -p /dev/disk/by-id\n" .. table.concat(script, "\n")) end
end

local function hostname()
  local given = util.argument("cocoon.hostname")
  local saved = (util.read("/etc/hostname") or ""):match("%S+")
  local name = saved
  if given and not util.read("/var/lib/cloud/data/instance-id") then name = given end
  name = name or "guest"
  if name ~= saved then util.write("/etc/hostname", name .. "\n") end
  local kernel = assert(io.open("/proc/sys/kernel/hostname", "w"))
  kernel:write(name)
  kernel:close()
  util.write("/etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\t" .. name .. "\n::1\tlocalhost\n")
  return name
end

local function host_key()
  local path = "/etc/dropbear/dropbear_ed25519_host_key"
  if util.read(path) then return end
  util.sh("mkdir -p /etc/dropbear && dropbearkey -t ed25519 -f " .. path .. " >/dev/null 2>&1")
end

local function mount_rest()
  if util.read("/etc/fstab"):match("\n/[^\n]+") then
    util.sh("while read -r d p rest; do case $d in /*) mkdir -p $p;; esac; done </etc/fstab; mount -a >/dev/null 2>&1")
  end
end

disk_links()
local seed = nocloud.seed()
if seed then
  local fresh = nocloud.apply(seed)
  util.say("cidata on " .. seed.device .. (fresh and ", new instance" or ", known instance"))
end
local name = hostname()
host_key()
mount_rest()
local interfaces = net.interfaces()
local plans, source = net.plans(interfaces, nocloud.network())
net.up(plans, interfaces, name)
util.say(string.format("hostname %s, network from %s, %.2f s", name, source, util.uptime()))
