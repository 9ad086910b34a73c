-- Runs beside the SSH server: waits for it and for an address, runs what user-data wants last, says so.
local util = require "util"
local net = require "net"
local nocloud = require "nocloud"

local PORT_22_LISTENING = ":0016 %x+:%x+ 0A"

local function listening()
  return (util.read("/proc/net/tcp") or ""):match(PORT_22_LISTENING) or (util.read("/proc/net/tcp6") or ""):match(PORT_22_LISTENING)
end

local function wait(predicate, seconds)
  local deadline = util.uptime() + seconds
  while true do
    local value = predicate()
    if value or util.uptime() > deadline then return value end
    util.sh("usleep 50000")
  end
end

local address = #net.interfaces() > 0 and wait(net.address, 20) or nil
wait(listening, 10)
util.say(string.format("ready %s %s", (util.read("/proc/sys/kernel/hostname"):gsub("%s", "")), address or "-"))
util.write("/run/lab-ready", string.format("%.2f\n", util.uptime()))
nocloud.final()
