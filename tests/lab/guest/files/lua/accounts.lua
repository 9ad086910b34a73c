-- The account files: users, groups, password hashes and authorised keys.
local util = require "util"
local M = {}

local FILES = { passwd = "644", group = "644", shadow = "600" }

local function load_table(name)
  local rows = {}
  for line in (util.read("/etc/" .. name) or ""):gmatch("[^\n]+") do
    local row = {}
    for field in (line .. ":"):gmatch("([^:]*):") do row[#row + 1] = field end
    rows[#rows + 1] = row
  end
  return rows
end

local function save_table(name, rows)
  local out = {}
  for _, row in ipairs(rows) do out[#out + 1] = table.concat(row, ":") .. "\n" end
  util.write("/etc/" .. name, table.concat(out), FILES[name])
end

local function find(rows, key)
  for _, row in ipairs(rows) do
    if row[1] == key then return row end
  end
end

local function free_id(rows)
  local used = {}
  for _, row in ipairs(rows) do used[tonumber(row[3])] = true end
  local id = 1000
  while used[id] do id = id + 1 end
  return id
end

local function ensure_group(name, id)
  local rows = load_table("group")
  local row = find(rows, name)
  if not row then
    row = { name, "x", tostring(id or free_id(rows)), "" }
    rows[#rows + 1] = row
    save_table("group", rows)
  end
  return tonumber(row[3])
end

function M.user(name)
  local row = find(load_table("passwd"), name)
  return row and { name = name, uid = tonumber(row[3]), gid = tonumber(row[4]), home = row[6], shell = row[7] }
end

function M.join(name, group)
  ensure_group(group)
  local rows = load_table("group")
  local row = find(rows, group)
  for member in row[4]:gmatch("[^,]+") do
    if member == name then return end
  end
  row[4] = row[4] == "" and name or row[4] .. "," .. name
  save_table("group", rows)
end

-- makes the user when it is absent; an existing one only gets the given shell and comment
function M.ensure(name, wish)
  local rows = load_table("passwd")
  local row = find(rows, name)
  if row then
    row[5], row[7] = wish.gecos or row[5], wish.shell or row[7]
  else
    local uid = wish.uid or free_id(rows)
    local gid = ensure_group(wish.primary_group or name, not wish.primary_group and wish.uid or nil)
    row = { name, "x", tostring(uid), tostring(gid), wish.gecos or "", wish.home or "/home/" .. name, wish.shell or "/bin/sh" }
    rows[#rows + 1] = row
    local shadow = load_table("shadow")
    if not find(shadow, name) then shadow[#shadow + 1] = { name, "!", "19000", "0", "99999", "7", "", "", "" } end
    save_table("shadow", shadow)
  end
  save_table("passwd", rows)
  local user = M.user(name)
  if not wish.no_home then
    local home = util.quote(user.home)
    util.sh(string.format("[ -d %s ] || { mkdir -p %s && chown %d:%d %s && chmod 755 %s; }", home, home, user.uid, user.gid, home, home))
  end
  return user
end

function M.hashed(text) return text:match("^%$[%w]+%$.+") ~= nil end

function M.set_password(name, text)
  local hash = text
  if not M.hashed(text) and text ~= "!" and text ~= "*" then
    local source = os.tmpname()
    util.write(source, text .. "\n", "600")
    hash = util.capture("mkpasswd -m sha512 -P 0 <" .. source):gsub("%s+$", "")
    os.remove(source)
  end
  local rows = load_table("shadow")
  local row = find(rows, name)
  if not row then
    row = { name, "", "19000", "0", "99999", "7", "", "", "" }
    rows[#rows + 1] = row
  end
  row[2] = hash
  save_table("shadow", rows)
end

function M.lock(name)
  local row = find(load_table("shadow"), name)
  if row and row[2]:sub(1, 1) ~= "!" then M.set_password(name, "!") end
end

-- adds keys that are not there yet; `options` goes before each of them
function M.authorize(name, keys, options)
  local user = M.user(name)
  if not user or #keys == 0 then return end
  local directory = user.home .. "/.ssh"
  local path = directory .. "/authorized_keys"
  local text = util.read(path) or ""
  if text ~= "" and text:sub(-1) ~= "\n" then text = text .. "\n" end
  for _, key in ipairs(keys) do
    local line = (options and options .. " " or "") .. key:gsub("%s+$", "")
    if not ("\n" .. text):find("\n" .. line .. "\n", 1, true) then text = text .. line .. "\n" end
  end
  util.write(path, text, "600")
  util.sh(string.format("chmod 700 %s && chown -R %d:%d %s", util.quote(directory), user.uid, user.gid, util.quote(directory)))
end

return M
