-- How several cloud-configs become one: cloud-init's merge types, by default dict(replace)+list()+str().
local yaml = require "yaml"
local M = {}

local DEFAULT = "dict(replace)+list()+str()"

local function has(options, name)
  return options and (","..options..","):find("," .. name .. ",", 1, true) ~= nil
end

local function rules(text)
  local found = {}
  for kind, options in text:gmatch("(%a+)%(([^)]*)%)") do found[kind] = options:gsub("%s", "") end
  return found
end

local function rules_of(config, header)
  local wish = header or config.merge_how or config.merge_type
  if type(wish) == "string" then return rules(wish) end
  if not yaml.is_seq(wish) then return rules(DEFAULT) end
  local text = {}
  for _, item in ipairs(wish) do
    text[#text + 1] = item.name .. "(" .. table.concat(item.settings or {}, ",") .. ")"
  end
  return rules(table.concat(text, "+"))
end

local function lists(how, old, new)
  if has(how.list, "append") or has(how.list, "prepend") then
    local out = yaml.new_seq()
    local first, second = old, new
    if has(how.list, "prepend") then first, second = new, old end
    for _, item in ipairs(first) do out[#out + 1] = item end
    for _, item in ipairs(second) do out[#out + 1] = item end
    return out
  end
  return has(how.list, "no_replace") and old or new
end

local function values(how, old, new)
  if has(how.dict, "replace") then return new end
  if yaml.is_map(old) and yaml.is_map(new) then return M.maps(how, old, new) end
  if yaml.is_seq(old) and yaml.is_seq(new) and (has(how.dict, "recurse_array") or has(how.dict, "recurse_list")) then
    return lists(how, old, new)
  end
  if type(old) == "string" and type(new) == "string" and has(how.dict, "recurse_str") and has(how.str, "append") then
    return old .. new
  end
  return old
end

function M.maps(how, old, new)
  local out = yaml.new_map()
  for key, item in pairs(old) do out[key] = item end
  for key, item in pairs(new) do
    if out[key] == nil then out[key] = item else out[key] = values(how, out[key], item) end
  end
  return out
end

function M.add(old, new, header) return M.maps(rules_of(new, header), old, new) end

return M
