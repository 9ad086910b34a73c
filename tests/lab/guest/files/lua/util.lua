-- Small helpers on files, commands and consoles.
local M = {}

function M.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local data = file:read("a")
  file:close()
  return data
end

function M.quote(text) return "'" .. tostring(text):gsub("'", "'\\''") .. "'" end

function M.sh(command) return (os.execute(command)) == true end

function M.capture(command)
  local pipe = io.popen(command)
  local data = pipe:read("a")
  pipe:close()
  return data
end

function M.directory(path) return path:match("^(.*)/[^/]*$") end

-- replaces the file in one step; `mode` and `owner` are what chmod and chown take
function M.write(path, data, mode, owner)
  local partial = path .. ".new"
  local file = io.open(partial, "wb")
  if not file then
    M.sh("mkdir -p " .. M.quote(M.directory(path)))
    file = assert(io.open(partial, "wb"))
  end
  assert(file:write(data))
  assert(file:close())
  if mode then M.sh("chmod " .. mode .. " " .. M.quote(partial)) end
  if owner then M.sh("chown " .. M.quote(owner) .. " " .. M.quote(partial)) end
  assert(os.rename(partial, path))
end

function M.append(path, data)
  local file = assert(io.open(path, "ab"))
  file:write(data)
  file:close()
end

-- every disk and partition that the kernel knows
function M.block_devices()
  local names = {}
  for name in (M.read("/proc/partitions") or ""):gmatch("%d+%s+%d+%s+%d+%s+(%S+)") do names[#names + 1] = name end
  return names
end

function M.cmdline() return (M.read("/proc/cmdline") or ""):gsub("\n", "") end

function M.argument(name)
  for word in M.cmdline():gmatch("%S+") do
    local value = word:match("^" .. name:gsub("%p", "%%%0") .. "=(.*)$")
    if value then return value end
  end
end

function M.uptime() return tonumber((M.read("/proc/uptime") or "0"):match("%S+")) end

-- one line on every console that the kernel writes to
function M.say(message)
  for name in (M.read("/sys/class/tty/console/active") or ""):gmatch("%S+") do
    local console = io.open("/dev/" .. name, "w")
    if console then
      console:write("lab-guest: " .. message .. "\r\n")
      console:close()
    end
  end
end

return M
