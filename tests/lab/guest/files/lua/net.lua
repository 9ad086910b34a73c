-- Addresses: kernel ip= parameters (cocoon's form), else the network-config of NoCloud, else DHCP on every interface.
local util = require "util"
local yaml = require "yaml"
local M = {}

function M.interfaces()
  local found = {}
  for name in (util.read("/proc/net/dev") or ""):gmatch("\n%s*([^%s:|]+):") do
    if util.read("/sys/class/net/" .. name .. "/type") == "1\n" then
      local mac = util.read("/sys/class/net/" .. name .. "/address"):gsub("%s", "")
      found[#found + 1] = { name = name, mac = mac:lower() }
    end
  end
  return found
end

local function prefix_of(mask)
  local bits = 0
  for octet in mask:gmatch("%d+") do
    local value = tonumber(octet)
    while value > 0 do
      bits, value = bits + (value & 1), value >> 1
    end
  end
  return bits
end

-- ip=<ip>::<gw>:<mask>:<name>:eth<n>:off[:dns0[:dns1]] -> { eth0 = plan, ... }
function M.from_cmdline(text)
  local plans = {}
  for word in text:gmatch("%S+") do
    local value = word:match("^ip=(.*)$")
    if value then
      local field = {}
      for item in (value .. ":"):gmatch("([^:]*):") do field[#field + 1] = item end
      local device = field[6]
      if device and device ~= "" and field[1] ~= "" then
        local plan = { addresses = { field[1] .. "/" .. prefix_of(field[4]) }, routes = {}, dns = {}, hostname = field[5] }
        if field[3] ~= "" then plan.routes[1] = { to = "default", via = field[3] } end
        for index = 8, 9 do
          if field[index] and field[index] ~= "" then plan.dns[#plan.dns + 1] = field[index] end
        end
        plans[device] = plan
      end
    end
  end
  return plans
end

local function matches(key, entry, interface)
  local match = yaml.is_map(entry.match) and entry.match or nil
  if not match then return key == interface.name end
  if match.macaddress then return tostring(match.macaddress):lower() == interface.mac end
  if match.name then
    local pattern = match.name:gsub("[%-%.%+%[%]%(%)%$%^%%]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".")
    return interface.name:match("^" .. pattern .. "$") ~= nil
  end
  return false
end

local function values(value)
  return yaml.is_seq(value) and value or {}
end

local function plan_of(entry)
  local plan = { dhcp = entry.dhcp4 == true, addresses = {}, routes = {}, dns = {}, search = {}, mtu = tonumber(entry.mtu),
    rename = entry["set-name"] }
  for _, item in ipairs(values(entry.addresses)) do
    plan.addresses[#plan.addresses + 1] = yaml.is_map(item) and next(item) or item
  end
  if type(entry.gateway4) == "string" then plan.routes[1] = { to = "default", via = entry.gateway4 } end
  for _, route in ipairs(values(entry.routes)) do
    local to = route.to == "0.0.0.0/0" and "default" or route.to
    plan.routes[#plan.routes + 1] = { to = to, via = route.via, metric = route.metric, onlink = route["on-link"] == true }
  end
  local servers = yaml.is_map(entry.nameservers) and entry.nameservers or {}
  for _, item in ipairs(values(servers.addresses)) do plan.dns[#plan.dns + 1] = item end
  for _, item in ipairs(values(servers.search)) do plan.search[#plan.search + 1] = item end
  return plan
end

-- version 2; interfaces that it does not name stay down
function M.from_config(config, interfaces)
  local plans = {}
  if config.version ~= 2 then
    util.say("warning: network-config version " .. tostring(config.version) .. " is not supported here, using DHCP")
    return nil
  end
  for key, entry in pairs(yaml.is_map(config.ethernets) and config.ethernets or {}) do
    for _, interface in ipairs(interfaces) do
      if yaml.is_map(entry) and matches(key, entry, interface) then plans[interface.name] = plan_of(entry) end
    end
  end
  return plans
end

local function family(address) return tostring(address):find(":", 1, true) and "-6 " or "" end

local function script_of(name, plan, hostname)
  local out = {}
  local function add(...) out[#out + 1] = string.format(...) end
  if plan.rename and plan.rename ~= name then
    add("ip link set %s down; ip link set %s name %s", name, name, util.quote(plan.rename))
    name = plan.rename
  end
  add("ip link set %s up", name)
  if plan.mtu then add("ip link set %s mtu %d", name, plan.mtu) end
  for _, address in ipairs(plan.addresses) do add("ip %saddr add %s dev %s", family(address), util.quote(address), name) end
  for _, route in ipairs(plan.routes) do
    local via = route.via and " via " .. util.quote(route.via) or ""
    if route.onlink and route.via then add("ip route add %s dev %s scope link", util.quote(route.via), name) end
    add("ip %sroute add %s%s dev %s%s", family(route.via or route.to), util.quote(route.to), via, name,
      route.metric and " metric " .. util.quote(route.metric) or "")
  end
  if plan.dhcp then
    add("udhcpc -i %s -b -t 5 -T 1 -A 5 -p /run/udhcpc.%s.pid -s /usr/lib/lab/udhcpc.script -x hostname:%s >/dev/null 2>&1 &",
      name, name, util.quote(hostname))
  end
  return table.concat(out, "\n")
end

local function resolver(plans)
  local out, seen = {}, {}
  for _, plan in pairs(plans) do
    for _, name in ipairs(plan.search or {}) do out[#out + 1] = "search " .. name .. "\n" end
    for _, address in ipairs(plan.dns) do
      if not seen[address] then out[#out + 1] = "nameserver " .. address .. "\n" end
      seen[address] = true
    end
  end
  if #out > 0 then util.write("/etc/resolv.conf", table.concat(out)) end
end

local function dhcp() return { dhcp = true, addresses = {}, routes = {}, dns = {} } end

-- what each interface gets
function M.plans(interfaces, config)
  local plans = M.from_cmdline(util.cmdline())
  if next(plans) then
    for _, interface in ipairs(interfaces) do plans[interface.name] = plans[interface.name] or dhcp() end
    return plans, "kernel parameters"
  end
  plans = config and M.from_config(config, interfaces)
  if plans then return plans, "network-config" end
  plans = {}
  for _, interface in ipairs(interfaces) do plans[interface.name] = dhcp() end
  return plans, "dhcp"
end

function M.up(plans, interfaces, hostname)
  local present, script = {}, { "ip link set lo up" }
  for _, interface in ipairs(interfaces) do
    if plans[interface.name] then
      present[interface.name] = plans[interface.name]
      script[#script + 1] = script_of(interface.name, plans[interface.name], hostname)
    end
  end
  resolver(present)
  util.sh(table.concat(script, "\n"))
end

return M
