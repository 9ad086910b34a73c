-- User data: plain, gzip, or MIME multipart -> a list of { type = ..., text = ..., merge = ... }.
local util = require "util"
local yaml = require "yaml"
local M = {}

local SHEBANG = { { "#cloud-config", "text/cloud-config" }, { "#!", "text/x-shellscript" }, { "#cloud-boothook", "text/cloud-boothook" } }

local function guess(text)
  for _, pair in ipairs(SHEBANG) do
    if text:sub(1, #pair[1]) == pair[1] then return pair[2] end
  end
end

local function headers(text)
  local found = {}
  local head, body = text:match("^(.-\n)\n(.*)$")
  if not head then head, body = text .. "\n", "" end
  head = head:gsub("\n[ \t]+", " ")
  for name, value in head:gmatch("([%w-]+):[ \t]*([^\n]*)\n") do found[name:lower()] = value end
  return found, body
end

local function quoted_printable(text)
  return (text:gsub("=\n", ""):gsub("=(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function decode(found, body)
  local encoding = (found["content-transfer-encoding"] or ""):lower()
  if encoding:match("base64") then return yaml.base64(body) end
  if encoding:match("quoted") then return quoted_printable(body) end
  return body
end

local function inflate(text)
  if text:sub(1, 2) ~= "\31\139" then return text end
  local name = os.tmpname()
  util.write(name, text, "600")
  local plain = util.capture("zcat <" .. name)
  os.remove(name)
  return plain
end

local add

local function add_parts(out, found, body)
  local boundary = found["content-type"]:match('boundary="([^"]+)"') or found["content-type"]:match("boundary=([^;%s]+)")
  if not boundary then return end
  local text = "\n" .. body
  local mark = "\n--" .. boundary
  local at = text:find(mark, 1, true)
  while at do
    local from = text:find("\n", at + #mark, true)
    local next_at = from and text:find(mark, from, true)
    if text:sub(at + #mark, at + #mark + 1) == "--" or not next_at then return end
    add(out, text:sub(from + 1, next_at - 1), true)
    at = next_at
  end
end

function add(out, text, part)
  local found, body = {}, text
  if part or text:match("^[Cc]ontent%-[Tt]ype:") or text:match("^MIME%-Version:") or text:match("^From ") then
    found, body = headers(text)
  end
  local kind = (found["content-type"] or ""):match("^[^;%s]+")
  if kind and kind:match("^multipart/") then return add_parts(out, found, body) end
  body = inflate(decode(found, body))
  if not kind or kind == "text/plain" or kind == "application/octet-stream" or kind:match("gzip") then kind = guess(body) end
  out[#out + 1] = { type = kind or "text/plain", text = body, merge = found["merge-type"] or found["x-merge-type"] }
end

function M.parts(text)
  local out = {}
  add(out, inflate(text):gsub("\r\n", "\n"), false)
  return out
end

return M
