-- cloud-init's NoCloud data, the part that the lab needs: read from a volume labelled cidata, applied once per instance-id.
local accounts = require "accounts"
local merge = require "merge"
local mime = require "mime"
local util = require "util"
local volume = require "volume"
local yaml = require "yaml"
local M = {}

local STATE = "/var/lib/cloud"
local DEFAULT_USER = "admin"

local function log(message) util.append("/var/log/cloud-init.log", message .. "\n") end

local function list(value)
  if value == nil or value == yaml.null then return {} end
  if yaml.is_seq(value) then return value end
  if yaml.is_map(value) then
    local out = {}
    for _, item in pairs(value) do out[#out + 1] = item end
    return out
  end
  return { value }
end

local function words(value)
  -- "a, b" or [a, b] or {a: null}
  if type(value) ~= "string" then
    local out = {}
    for key, item in pairs(value or {}) do out[#out + 1] = type(key) == "number" and item or key end
    return out
  end
  local out = {}
  for word in value:gmatch("[^,%s]+") do out[#out + 1] = word end
  return out
end

local function set(value) return value ~= nil and value ~= yaml.null and value ~= "" end

local function optional(value) return set(value) and value or nil end

local function parse(text, what)
  if not text then return yaml.new_map() end
  local ok, value = pcall(yaml.parse, text)
  if not ok then
    local reason = type(value) == "table" and value.yaml or tostring(value)
    log("failed to parse " .. what .. ": " .. reason)
    util.say("warning: " .. what .. " is not usable: " .. reason)
    return yaml.new_map()
  end
  if yaml.is_map(value) then return value end
  if value ~= yaml.null then log(what .. " is not a mapping") end
  return yaml.new_map()
end

-- ---------------------------------------------------------------- reading

function M.seed()
  local device, kind = volume.find("cidata")
  if not device then return nil end
  util.sh("modprobe -a " .. (kind == "vfat" and "vfat nls_cp437 nls_ascii" or "isofs nls_utf8"))
  local point = "/run/cidata"
  if not util.sh(string.format("mkdir -p %s && mount -t %s -o ro %s %s", point, kind, device, point)) then return nil end
  local seed = { device = device, meta = util.read(point .. "/meta-data"), user = util.read(point .. "/user-data"),
    network = util.read(point .. "/network-config") }
  util.sh("umount " .. point)
  -- both files are mandatory, as for the real one
  if seed.meta and seed.user then return seed end
  util.say("warning: " .. device .. " has no meta-data or no user-data, ignored")
end

local function collect(text)
  local config, scripts, hooks = yaml.new_map(), {}, {}
  for _, part in ipairs(text and mime.parts(text) or {}) do
    if part.type == "text/cloud-config" then config = merge.add(config, parse(part.text, "user-data"), part.merge)
    elseif part.type == "text/x-shellscript" then scripts[#scripts + 1] = part.text
    elseif part.type == "text/cloud-boothook" then hooks[#hooks + 1] = part.text
    elseif part.text:match("%S") then log("unhandled part of type " .. part.type) end
  end
  return config, scripts, hooks
end

-- ---------------------------------------------------------------- applying

local function write_file(item)
  local content, encoding = set(item.content) and tostring(item.content) or "", set(item.encoding) and item.encoding or ""
  if encoding:match("b64") or encoding:match("base64") then content = yaml.base64(content) end
  local mode = item.permissions
  if type(mode) == "number" then mode = string.format("%o", mode) end
  if item.append == true then content = (util.read(item.path) or "") .. content end
  util.write(item.path, content, optional(mode) or "644", optional(item.owner) or "root:root")
  if encoding:match("gz") then
    local path = util.quote(item.path)
    util.sh(string.format("zcat <%s >%s.plain && cat %s.plain >%s; rm -f %s.plain", path, path, path, path, path))
  end
end

local function write_files(config, deferred)
  for _, item in ipairs(list(config.write_files)) do
    if set(item.path) and (item.defer == true) == deferred then write_file(item) end
  end
end

local function sudo(name, rules)
  if rules == false or not set(rules) then return end
  local out = {}
  for _, rule in ipairs(list(rules)) do out[#out + 1] = name .. " " .. rule .. "\n" end
  util.write("/etc/sudoers.d/90-cloud-init-" .. name, table.concat(out), "440")
end

local function add_user(item)
  local name = item.name
  local user = accounts.ensure(name, { uid = tonumber(optional(item.uid)), gecos = optional(item.gecos), home = optional(item.homedir),
    shell = optional(item.shell), primary_group = optional(item.primary_group),
    no_home = item.no_create_home == true or item.system == true })
  for _, group in ipairs(words(optional(item.groups))) do accounts.join(name, group) end
  local hash = optional(item.passwd) or optional(item.hashed_passwd)
  if set(item.plain_text_passwd) then accounts.set_password(name, tostring(item.plain_text_passwd))
  elseif hash then accounts.set_password(name, hash) end
  if item.lock_passwd ~= false then accounts.lock(name) end
  sudo(name, item.sudo)
  accounts.authorize(name, list(item.ssh_authorized_keys or item["ssh-authorized-keys"]))
  return user
end

-- returns the name of the default user, or nil when `users:` leaves it out
local function add_users(config)
  local default = yaml.is_map(config.user) and config.user or { name = optional(config.user) or DEFAULT_USER, lock_passwd = false }
  local wanted = list(config.users)
  local chosen
  if #wanted == 0 then wanted = { "default" } end
  for _, item in ipairs(wanted) do
    if item == "default" then
      chosen = default.name
      if default.name ~= DEFAULT_USER or yaml.is_map(config.user) then add_user(default) end
    elseif type(item) == "string" then
      for _, name in ipairs(words(item)) do add_user({ name = name }) end
    elseif yaml.is_map(item) and set(item.name) then
      add_user(item)
      if item.default == true then chosen = item.name end
    end
  end
  return chosen
end

local function keys_of(config, meta)
  local keys = {}
  for _, key in ipairs(list(meta["public-keys"] or meta["public_keys"])) do
    for _, one in ipairs(list(key)) do
      if type(one) == "string" then keys[#keys + 1] = one end
    end
  end
  for _, key in ipairs(list(config.ssh_authorized_keys)) do keys[#keys + 1] = key end
  return keys
end

local function authorize(config, meta, default)
  local keys = keys_of(config, meta)
  if default then accounts.authorize(default, keys) end
  if config.disable_root ~= true then return accounts.authorize("root", keys) end
  accounts.authorize("root", keys, string.format(
    'no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command="/usr/lib/lab/refuse-root %s"', default or "NONE"))
end

local function passwords(config, default)
  if set(config.password) and default then accounts.set_password(default, tostring(config.password)) end
  local change = yaml.is_map(config.chpasswd) and config.chpasswd or {}
  local pairs_ = {}
  local lines = type(change.list) == "string" and change.list or table.concat(list(change.list), "\n")
  for name, secret in lines:gmatch("([^:\n]+):([^\n]+)") do pairs_[#pairs_ + 1] = { name, secret } end
  for _, item in ipairs(list(change.users)) do
    if set(item.name) and set(item.password) then pairs_[#pairs_ + 1] = { item.name, tostring(item.password) } end
  end
  for _, pair in ipairs(pairs_) do
    if accounts.user(pair[1]) then accounts.set_password(pair[1], pair[2]) else log("chpasswd: no user " .. pair[1]) end
  end
  if config.ssh_pwauth == false then util.write("/etc/lab/ssh-no-password", "")
  elseif config.ssh_pwauth == true then os.remove("/etc/lab/ssh-no-password") end
end

local function command_line(item)
  if not yaml.is_seq(item) then return tostring(item) end
  local out = {}
  for _, word in ipairs(item) do out[#out + 1] = util.quote(word) end
  return table.concat(out, " ")
end

local function commands(items)
  local out = { "#!/bin/sh" }
  for _, item in ipairs(list(items)) do
    if item ~= yaml.null then out[#out + 1] = command_line(item) end
  end
  return table.concat(out, "\n") .. "\n"
end

local function mounts(config)
  for _, row in ipairs(list(config.mounts)) do
    local fields = {}
    for _, item in ipairs(list(row)) do fields[#fields + 1] = tostring(item) end
    local defaults = { nil, nil, "auto", "defaults,nofail", "0", "2" }
    for index = #fields + 1, 6 do fields[index] = defaults[index] end
    if fields[1] and fields[2] and fields[1]:match("^/") then
      util.append("/etc/fstab", table.concat(fields, "\t") .. "\n")
    end
  end
end

local function hostname_of(config, meta)
  if config.preserve_hostname == true then return nil end
  local name = optional(config.hostname) or optional(config.fqdn) or optional(meta["local-hostname"]) or optional(meta.hostname)
  if config.prefer_fqdn_over_hostname == true and set(config.fqdn) then name = config.fqdn
  elseif name then name = tostring(name):match("^[^.]+") end
  return name
end

local function save_scripts(config, scripts)
  util.sh("rm -rf " .. STATE .. "/instance && mkdir -p " .. STATE .. "/instance/scripts")
  if #list(config.runcmd) > 0 then util.write(STATE .. "/instance/scripts/runcmd", commands(config.runcmd), "700") end
  for index, text in ipairs(scripts) do
    util.write(string.format("%s/instance/scripts/part-%03d", STATE, index), text, "700")
  end
end

local function run_text(text)
  util.write("/run/lab-command", text, "700")
  util.sh("/run/lab-command >>/var/log/cloud-init-output.log 2>&1")
end

local function configure(config, meta)
  write_files(config, false)
  local default = add_users(config)
  authorize(config, meta, default)
  passwords(config, default)
  mounts(config)
  write_files(config, true)
end

-- true when the volume describes an instance that this disk has not seen
function M.apply(seed)
  local meta = parse(seed.meta, "meta-data")
  local id = set(meta["instance-id"]) and tostring(meta["instance-id"]) or "nocloud"
  local config, scripts, hooks = collect(seed.user)
  for _, text in ipairs(hooks) do run_text(text) end
  if #list(config.bootcmd) > 0 then run_text(commands(config.bootcmd)) end
  if util.read(STATE .. "/data/instance-id") == id .. "\n" then return false end
  log("new instance " .. id)
  save_scripts(config, scripts)
  os.remove(STATE .. "/network-config")
  if seed.network then util.write(STATE .. "/network-config", seed.network, "600") end
  local name = hostname_of(config, meta)
  if name then util.write("/etc/hostname", name .. "\n") end
  local ok, problem = pcall(configure, config, meta)
  if not ok then
    log("failed: " .. tostring(problem))
    util.say("warning: user-data was not applied completely: " .. tostring(problem))
  end
  util.write(STATE .. "/data/instance-id", id .. "\n")
  return true
end

-- the network part that was saved with the instance; nil when there is none
function M.network()
  local text = util.read(STATE .. "/network-config")
  if not text then return nil end
  local config = parse(text, "network-config")
  if yaml.is_map(config.network) then config = config.network end
  return config
end

return M
