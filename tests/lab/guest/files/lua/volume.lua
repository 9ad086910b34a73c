-- Finds a volume by its label: FAT (label entry of the root directory, else the boot sector) and ISO 9660.
local util = require "util"
local M = {}

local function at(file, offset, count)
  file:seek("set", offset)
  return file:read(count) or ""
end

local function root_label(file, sector)
  local size, _, reserved, fats, entries, _, _, per_fat = ("<I2I1I2I1I2I2I1I2"):unpack(sector, 12)
  if size == 0 or entries == 0 then return nil end
  local root = at(file, (reserved + fats * per_fat) * size, entries * 32)
  for from = 1, #root - 31, 32 do
    local first, attributes = root:byte(from), root:byte(from + 11)
    if first == 0 then return nil end
    if first ~= 0xe5 and attributes & 0x08 ~= 0 and attributes & 0x0f ~= 0x0f then return root:sub(from, from + 10) end
  end
end

local function trimmed(text) return text and (text:gsub("[%s%z]+$", "")) end

local function label(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local sector = at(file, 0, 512)
  local kind, name
  if #sector == 512 and sector:sub(511, 512) == "\x55\xaa" then
    if sector:sub(55, 57) == "FAT" then
      kind, name = "vfat", root_label(file, sector) or sector:sub(44, 54)
    elseif sector:sub(83, 87) == "FAT32" then
      kind, name = "vfat", sector:sub(72, 82)
    end
  end
  if not kind and at(file, 32768, 6) == "\1CD001" then kind, name = "iso9660", at(file, 32768 + 40, 32) end
  file:close()
  return kind, trimmed(name)
end

-- path and file system of the first volume whose label is `wanted`, whatever the case
function M.find(wanted)
  for _, device in ipairs(util.block_devices()) do
    if device:match("^[vs][dr]%w+$") or device:match("^nvme") then
      local kind, name = label("/dev/" .. device)
      if kind and name and name:lower() == wanted:lower() then return "/dev/" .. device, kind end
    end
  end
end

return M
